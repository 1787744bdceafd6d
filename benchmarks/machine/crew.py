"""Processes that write to the database concurrently for some seconds, with one batch per transaction."""

import asyncio
import multiprocessing as mp
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from benchmarks.machine.cost import Meter
from benchmarks.machine.stage import Stage
from benchmarks.samples import Sample
from chassis.process import run_process
from services.billing.database import connect

PATIENCE_SECONDS = 120.0


@dataclass(frozen=True, slots=True)
class Job:
    """The work of a crew: `prepare` turns items into inputs before the clock starts, `write` writes a batch of inputs.

    Both are functions of a module, because only those can be sent to another process.
    """

    prepare: Callable[[Sequence[Any]], Sequence[Any]]
    write: Callable[[AsyncConnection, Sequence[Any]], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Shift:
    """One process's share of a measurement."""

    items: Sequence[Any]
    batch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Written:
    """The items that one process wrote, between two moments of the same clock (seconds since the epoch)."""

    items: int
    began: float
    ended: float


@contextmanager
def crew(url: str, size: int, job: Job) -> Iterator[list["Member"]]:
    """Start processes for this job on this database; yield them, and end them afterwards."""
    members = [Member(url, job) for _ in range(size)]
    try:
        yield members
    finally:
        for member in members:
            member.dismiss()


async def measure_shifts(
    stage: Stage, members: Sequence["Member"], shifts: Sequence[Shift], unit: str
) -> tuple[Sample, int]:
    """Give each member one shift and start all together; return the rate with its cost, and the number of items."""
    for member, shift in zip(members, shifts, strict=True):
        member.pipe.send(shift)
    for member in members:
        await member.receive()  # "ready"
    meter = Meter(stage, {"worker": [member.pid for member in members]})
    await meter.start()
    for member in members:
        member.pipe.send("go")
    results: list[Written] = [await member.receive() for member in members]
    items = sum(result.items for result in results)
    cost = await meter.cost(items)
    elapsed = max(result.ended for result in results) - min(result.began for result in results)
    return Sample(items / elapsed, unit, cost), items


class Member:
    """A process that works one shift after another."""

    def __init__(self, url: str, job: Job) -> None:
        context = mp.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(url, job, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self.pid = self._process.pid or 0

    async def receive(self) -> Any:
        """Return its next message; raise EOFError if it has died, TimeoutError after two minutes."""
        if not await asyncio.to_thread(self.pipe.poll, PATIENCE_SECONDS):
            raise TimeoutError("a process of the crew has sent nothing for two minutes")
        return self.pipe.recv()

    def dismiss(self) -> None:
        """Let it finish its shift and end."""
        self.pipe.close()
        self._process.join(PATIENCE_SECONDS)


def _work(url: str, job: Job, pipe: Connection) -> None:
    run_process(_shifts(url, job, pipe))


async def _shifts(url: str, job: Job, pipe: Connection) -> None:
    engine = connect(url, pool_size=1, plan_cache_mode="force_generic_plan")
    async with engine.connect() as connection:
        await connection.rollback()
    with suppress(EOFError):  # the pipe was closed: dismissed
        while True:
            shift: Shift = pipe.recv()
            inputs = job.prepare(shift.items)
            pipe.send("ready")
            pipe.recv()
            pipe.send(await _write(engine, job, shift, inputs))
    await engine.dispose()


async def _write(engine: AsyncEngine, job: Job, shift: Shift, inputs: Sequence[Any]) -> Written:
    began = time.time()
    done = 0
    while time.time() - began < shift.seconds and done < len(inputs):
        async with engine.begin() as connection:
            await job.write(connection, inputs[done : done + shift.batch])
        done = min(done + shift.batch, len(inputs))
    return Written(done, began, time.time())
