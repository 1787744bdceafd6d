"""posting_<batch>_<workers>: accept() alone, without Kafka, in one or two processes with one batch per transaction.

Payments go from wallets to billers that settle by file, so this transaction finishes them: it writes transfer, receipt
and events.
"""

import asyncio
import multiprocessing as mp
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import integrity
from benchmarks.machine.cost import Meter
from benchmarks.measured_city import Due, command
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample
from chassis.process import run_process
from errands import Booking, Institutions
from events.payments import PayBill
from services.billing.database import connect
from services.billing.instruction import Instruction
from services.billing.payments.accept import accept

WORKERS = (1, 2)
# By batch size: more payments than a worker can make in a second. This number of bills is reserved for it per second,
# and their commands are built before the clock starts.
MOST_PER_SECOND = {1: 1_000, 50: 8_000, 500: 14_000, 1_000: 16_000}
PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class _Work:
    """The order to one process."""

    due: Sequence[Due]
    batch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Posted:
    """The work of one process, between two moments of the same clock (seconds since the epoch)."""

    payments: int
    began: float
    ended: float


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Run every batch size with every number of processes, one after the other in the same city."""
    shapes = [(batch, workers) for batch in MOST_PER_SECOND for workers in WORKERS]
    seconds = repeat.plan.posting_seconds
    samples = {}
    async with repeat.stage.city() as city:
        due = await city.due(repeat.plan)
        wanted = [MOST_PER_SECOND[batch] * workers * seconds for batch, workers in shapes]
        enough = min(1.0, len(due) / sum(wanted))
        paid = repeat.plan.history
        with _posters(city.billing_url, max(WORKERS)) as posters:
            for (batch, workers), bills in zip(shapes, wanted, strict=True):
                reserved = [due.pop() for _ in range(int(bills * enough))]
                work = [_Work(reserved[n::workers], batch, seconds) for n in range(workers)]
                sample, payments = await _measure(repeat, posters[:workers], work)
                paid += payments
                complaints = await integrity.counts(city.engine, paid)
                samples[f"posting_{batch}_{workers}"] = sample.with_complaints(complaints)
        violations = await integrity.audit(city.engine)
    return {id: sample.with_complaints(violations) for id, sample in samples.items()}


async def _measure(
    repeat: Repeat, posters: Sequence["_Poster"], work: Sequence[_Work]
) -> tuple[Sample, int]:
    """Let the processes do their parts concurrently; return the sample and the number of payments."""
    for poster, part in zip(posters, work, strict=True):
        poster.pipe.send(part)
    for poster in posters:
        await poster.receive()  # "ready"
    used = Meter(repeat.stage, {"worker": [each.pid for each in posters]})
    await used.start()
    for poster in posters:
        poster.pipe.send("go")
    posted = [await each.receive() for each in posters]
    payments = sum(each.payments for each in posted)
    cost = await used.cost(payments)
    elapsed = max(each.ended for each in posted) - min(each.began for each in posted)
    return Sample(payments / elapsed, "payments/s", cost), payments


class _Poster:
    """A process that accepts the payments of one order after the other."""

    def __init__(self, url: str) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_post, args=(url, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0

    async def receive(self) -> Any:
        """Return the next message of the process; raise EOFError if it has died."""
        if not await asyncio.to_thread(self.pipe.poll, PATIENCE_SECONDS):
            raise TimeoutError(f"a posting process sent nothing for {PATIENCE_SECONDS:.0f} s")
        return self.pipe.recv()

    def dismiss(self) -> None:
        """Close its pipe, so that it ends after its present order, and wait for that."""
        self.pipe.close()
        self._process.join(PATIENCE_SECONDS)


@contextmanager
def _posters(url: str, number: int) -> Iterator[list[_Poster]]:
    posters = [_Poster(url) for _ in range(number)]
    try:
        yield posters
    finally:
        for poster in posters:
            poster.dismiss()


def _post(url: str, pipe: Connection) -> None:
    run_process(_accept_all(url, pipe))


async def _accept_all(url: str, pipe: Connection) -> None:
    engine = connect(url, pool_size=1, plan_cache_mode="force_generic_plan")
    async with engine.connect() as connection:
        await connection.rollback()
    with suppress(EOFError):  # the pipe was closed: dismissed
        while True:
            work: _Work = pipe.recv()
            instructions = [Instruction(command(each)) for each in work.due]
            pipe.send("ready")
            pipe.recv()
            pipe.send(await _accept(engine, work, instructions))
    await engine.dispose()


async def _accept(
    engine: AsyncEngine, work: _Work, instructions: Sequence[Instruction[PayBill]]
) -> _Posted:
    began = time.time()
    done = 0
    while time.time() - began < work.seconds and done < len(instructions):
        async with engine.begin() as connection:
            await accept(
                connection, instructions[done : done + work.batch], Booking(Institutions())
            )
        done = min(done + work.batch, len(instructions))
    return _Posted(done, began, time.time())
