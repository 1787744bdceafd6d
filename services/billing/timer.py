"""Process: what time makes due. `python -m services.billing.timer`

Each job returns how much it did; a job that did something runs again at once, one that failed is logged and tried again
at its next turn.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta
from functools import partial

import structlog

from chassis.probes import Probes, until_stopped
from chassis.telemetry import configure_logging
from messaging.ddl import drop_old_partitions, ensure_partitions
from services.billing.bills.connectors import Connectors
from services.billing.bills.lookup import Lookups
from services.billing.database import connect
from services.billing.payments import Payments
from services.billing.psp import Psp
from services.billing.reconciliation import audit_job
from services.billing.settings import Settings

Job = Callable[[], Awaitable[int]]
log = structlog.get_logger()


async def every(seconds: float, name: str, job: Job) -> None:
    """Run the job for ever, this many seconds apart while there is nothing to do."""
    while True:
        try:
            done = await job()
        except Exception:
            log.exception("job_failed", job=name)
            done = 0
        await asyncio.sleep(0 if done else seconds)


async def run(settings: Settings) -> None:
    """Run the jobs until told to stop."""
    engine = connect(settings.database_url.get_secret_value(), pool_size=settings.pool_size)
    psp = Psp(
        settings.psp_url,
        settings.psp_api_key.get_secret_value(),
        timeout_seconds=settings.psp_timeout_seconds,
        return_url=settings.public_url,
    )
    connectors = Connectors(engine, settings)
    resume_after = timedelta(seconds=settings.resume_after_seconds)
    payments = Payments(engine, psp, connectors, resume_after)
    lookups = Lookups(engine, connectors, resume_after)

    async def upkeep() -> int:
        async with engine.begin() as connection:
            made = await ensure_partitions(connection)
        async with engine.begin() as connection:
            return made + len(await drop_old_partitions(connection))

    async with Probes(settings.metrics_port, engine):
        jobs = [
            asyncio.create_task(every(0.25, "resume", payments.resume)),
            asyncio.create_task(every(1.0, "resume_lookups", lookups.resume)),
            asyncio.create_task(every(300.0, "audit", partial(audit_job, engine))),
            asyncio.create_task(every(600.0, "upkeep", upkeep)),
        ]
        await until_stopped()
        for job in jobs:
            job.cancel()
        await asyncio.gather(*jobs, return_exceptions=True)
    await lookups.drain()
    await payments.drain()
    await lookups.aclose()
    await payments.aclose()
    await psp.aclose()
    await connectors.aclose()
    await engine.dispose()


def main() -> None:
    configure_logging("timer")
    asyncio.run(run(Settings()))


if __name__ == "__main__":
    main()
