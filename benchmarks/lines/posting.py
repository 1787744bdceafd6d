"""posting_<batch>_<workers>: accept() alone, in one or two processes, each a batch per transaction, without Kafka.

Paid from wallets to billers that settle by file: finished in that transaction, with transfer, receipt and events.
"""

import asyncio
import multiprocessing as mp
import time
from collections.abc import Sequence
from dataclasses import dataclass
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

BATCHES = (1, 50, 500, 1_000)
WORKERS = (1, 2)
MOST_PER_SECOND = 40_000


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
    """Every batch size with every number of processes."""
    samples = {}
    for batch in BATCHES:
        for workers in WORKERS:
            samples[f"posting_{batch}_{workers}"] = await _measure(run, batch, workers)
    return samples


async def _measure(run: Run, batch: int, workers: int) -> Sample:
    async with run.stage.city() as city:
        connection = await connect_directly(city.owner_url)
        due = await bills_due(connection, run.plan)
        # No more than there is time for: they are made into commands before the clock starts.
        del due[int(run.plan.posting_seconds * MOST_PER_SECOND) :]
        await connection.close()
        context = mp.get_context("spawn")
        barrier = context.Barrier(workers + 1)
        results: mp.Queue[_Posted] = context.Queue()
        seconds = run.plan.posting_seconds
        employed = [
            context.Process(
                target=_post,
                args=(_Work(city.billing_url, due[n::workers], batch, seconds), barrier, results),
            )
            for n in range(workers)
        ]
        for each in employed:
            each.start()
        pids = [each.pid for each in employed if each.pid]
        used = Meter(run.stage, {"worker": pids})
        await asyncio.to_thread(barrier.wait, 120)
        await used.start()
        posted = [await asyncio.to_thread(results.get, True, 120) for _ in employed]
        payments = sum(each.payments for each in posted)
        cost = await used.cost(payments)
        await asyncio.to_thread(barrier.wait, 120)
        for each in employed:
            await asyncio.to_thread(each.join, 60)
        complaints = await integrity.books(city.engine, run.plan.history + payments)
    elapsed = max(each.ended for each in posted) - min(each.began for each in posted)
    return Sample(payments / elapsed, "payments/s", cost, complaints)


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
