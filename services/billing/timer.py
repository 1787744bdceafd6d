"""Process: periodic jobs. `python -m services.billing.timer`

Each job returns how many items it handled; a job that handled some runs again at once. A job that fails is logged and
tried again soon.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.frozen import ending_frozen_sessions
from chassis.probes import Probes, until_stopped
from chassis.telemetry import configure_logging
from errands.gauges import count_errands
from messaging.outbox import drop_old_partitions, ensure_partitions
from services.billing import ledger
from services.billing.audit import AUDIT_SECONDS, REST, audit_job
from services.billing.database import connect, summarize_new_blocks
from services.billing.outside.cases import count_open
from services.billing.settings import Settings
from services.billing.use_cases import open_use_cases

Job = Callable[[], Awaitable[int]]
# A job that failed is tried again after at most this time: the usual cause (a lock) passes quickly.
RETRY_SECONDS = 5.0
# Sealing and auditing may read for minutes (an hour of old seals is one transaction), and lock nothing that a payment
# waits for. Upkeep is not among them: dropping a partition locks the outbox for all writers.
READING_SECONDS = 1_800.0

FAILED = Counter(
    "timer_jobs_failed_total", "Jobs of the timer that failed; each is tried again", ["job"]
)

log = structlog.get_logger()


async def every(seconds: float, name: str, job: Job) -> None:
    """Run the job for ever, with this many seconds between runs while there is nothing to do."""
    while True:
        try:
            done = await job()
        except Exception:
            FAILED.labels(name).inc()
            log.exception("job_failed", job=name)
            pause = min(seconds, RETRY_SECONDS)
        else:
            pause = 0.0 if done else seconds
        await asyncio.sleep(pause)


async def run(settings: Settings) -> None:
    """Run the jobs until stopped."""
    url = settings.database_url.get_secret_value()
    reading = connect(url, pool_size=2, transaction_seconds=READING_SECONDS)
    async with (
        open_use_cases(settings) as use,
        Probes(settings.metrics_port, use.engine),
        ending_frozen_sessions(use.engine),
    ):
        jobs = [
            asyncio.create_task(every(1.0, "busy_lookups", use.lookups.expire_waiting)),
            asyncio.create_task(every(5.0, "busy_payments", use.payments.expire_waiting)),
            asyncio.create_task(every(5.0, "busy_top_ups", use.top_ups.expire_waiting)),
            asyncio.create_task(every(5.0, "count_cases", partial(count_open, use.engine))),
            asyncio.create_task(every(5.0, "count_errands", partial(count_errands, use.engine))),
            asyncio.create_task(every(60.0, "seal", partial(seal, reading))),
            asyncio.create_task(every(AUDIT_SECONDS, "audit", partial(audit_job, reading))),
            asyncio.create_task(every(600.0, "upkeep", partial(upkeep, use.engine))),
        ]
        await until_stopped()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
    await reading.dispose()


async def seal(engine: AsyncEngine) -> int:
    """Seal the spans of the ledger that are over, using a tenth of one processor.

    The digests are logged; a copy of the log elsewhere is the proof.
    """
    began = time.monotonic()
    async with engine.begin() as connection:
        await summarize_new_blocks(connection)
    async with engine.begin() as connection:
        sealed = await ledger.seal(connection)
    for each in sealed:
        digest = each.digest.hex()
        log.info(
            "ledger_sealed", until=each.until.isoformat(), transfers=each.transfers, digest=digest
        )
    await asyncio.sleep(REST * (time.monotonic() - began))
    return len(sealed)


async def upkeep(engine: AsyncEngine) -> int:
    """Create the outbox's partitions of the coming days, and drop those past retention."""
    async with engine.begin() as connection:
        created = await ensure_partitions(connection)
    async with engine.begin() as connection:
        return created + len(await drop_old_partitions(connection))


def main() -> None:
    configure_logging("timer")
    asyncio.run(run(Settings()))


if __name__ == "__main__":
    main()
