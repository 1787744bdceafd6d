"""posting_<batch>_<workers>: accept() alone, in one or two processes, each a batch per transaction, without Kafka.

Paid from wallets to billers that settle by file: finished in that transaction, with transfer, receipt and events.
"""

import asyncio
import multiprocessing as mp
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from multiprocessing.synchronize import Barrier

from benchmarks import integrity
from benchmarks.city import RESUME_AFTER, Due, bills_due, command
from benchmarks.cost import Meter
from benchmarks.direct import connect_directly
from benchmarks.results import Sample
from benchmarks.run import Run
from chassis.process import run_process
from services.billing.database import connect
from services.billing.payments import Instruction
from services.billing.payments.accept import accept

WORKERS = (1, 2)
# By the size of a batch: what no worker can pay in a second. As many bills are set aside for it, and made into commands
# before the clock starts.
MOST_PER_SECOND = {1: 1_000, 50: 8_000, 500: 14_000, 1_000: 16_000}


@dataclass(frozen=True, slots=True)
class _Work:
    """What one process has to do."""

    url: str
    due: Sequence[Due]
    batch: int
    seconds: float


@dataclass(frozen=True, slots=True)
class _Posted:
    """What one process did, between two moments of the same clock (seconds since the epoch)."""

    payments: int
    began: float
    ended: float


async def measure(run: Run) -> dict[str, Sample]:
    """Every batch size with every number of processes, one after the other in the same city."""
    shapes = [(batch, workers) for batch in MOST_PER_SECOND for workers in WORKERS]
    samples = {}
    async with run.stage.city() as city:
        connection = await connect_directly(city.owner_url)
        due = await bills_due(connection, run.plan)
        await connection.close()
        wanted = [
            MOST_PER_SECOND[batch] * workers * run.plan.posting_seconds for batch, workers in shapes
        ]
        enough = min(1.0, len(due) / sum(wanted))
        paid = run.plan.history
        for (batch, workers), bills in zip(shapes, wanted, strict=True):
            mine = [due.pop() for _ in range(int(bills * enough))]
            work = [
                _Work(city.billing_url, mine[n::workers], batch, run.plan.posting_seconds)
                for n in range(workers)
            ]
            sample, payments = await _measure(run, work)
            paid += payments
            complaints = await integrity.books(city.engine, paid)
            samples[f"posting_{batch}_{workers}"] = replace(sample, complaints=complaints)
    return samples


async def _measure(run: Run, work: Sequence[_Work]) -> tuple[Sample, int]:
    """Have a process do each part of the work, all at once; what came of it, and how many payments it was."""
    context = mp.get_context("spawn")
    barrier = context.Barrier(len(work) + 1)
    results: mp.Queue[_Posted] = context.Queue()
    employed = [context.Process(target=_post, args=(each, barrier, results)) for each in work]
    for each in employed:
        each.start()
    used = Meter(run.stage, {"worker": [each.pid for each in employed if each.pid]})
    await asyncio.to_thread(barrier.wait, 120)
    await used.start()
    posted = [await asyncio.to_thread(results.get, True, 120) for _ in employed]
    payments = sum(each.payments for each in posted)
    cost = await used.cost(payments)
    await asyncio.to_thread(barrier.wait, 120)
    for each in employed:
        await asyncio.to_thread(each.join, 60)
    elapsed = max(each.ended for each in posted) - min(each.began for each in posted)
    return Sample(payments / elapsed, "payments/s", cost), payments


def _post(work: _Work, barrier: Barrier, results: "mp.Queue[_Posted]") -> None:
    run_process(_accept(work, barrier, results))


async def _accept(work: _Work, barrier: Barrier, results: "mp.Queue[_Posted]") -> None:
    engine = connect(work.url, pool_size=1, plan_cache_mode="force_generic_plan")
    async with engine.connect() as connection:
        await connection.rollback()
    instructions = [Instruction(command(each)) for each in work.due]
    barrier.wait(120)
    began = time.time()
    done = 0
    while time.time() - began < work.seconds and done < len(instructions):
        async with engine.begin() as connection:
            await accept(connection, instructions[done : done + work.batch], RESUME_AFTER)
        done = min(done + work.batch, len(instructions))
    results.put(_Posted(done, began, time.time()))
    await engine.dispose()
    # Only now may it end: its processor time is still to be read.
    barrier.wait(120)
