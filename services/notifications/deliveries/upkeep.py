"""Upkeep: count due and failed deliveries, create and drop the outbox's partitions, delete old deliveries."""

import asyncio
from collections.abc import Awaitable
from datetime import UTC, datetime

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.outbox import drop_old_partitions, ensure_partitions
from services.notifications import metrics
from services.notifications.deliveries.follow import forget_old
from services.notifications.deliveries.tables import MEDIA

UPKEEP_SECONDS = 600.0
COUNT_SECONDS = 15.0

_DUE = text("""
    SELECT medium, count(*) AS number FROM (
        SELECT medium FROM deliveries WHERE status = 'pending' AND next_attempt_at <= now() LIMIT 100000
    ) AS due GROUP BY medium
""")
_FAILED = text("SELECT count(*) FROM deliveries WHERE status = 'failed'")

log = structlog.get_logger()


async def keep(engine: AsyncEngine, kept_days: int) -> None:
    """Run the upkeep for ever, at regular intervals."""
    since = UPKEEP_SECONDS
    while True:
        await _by_itself("count", count(engine))
        if since >= UPKEEP_SECONDS:
            since = 0.0
            await tidy(engine, kept_days)
        await asyncio.sleep(COUNT_SECONDS)
        since += COUNT_SECONDS


async def count(engine: AsyncEngine) -> None:
    """Set the metrics of due and failed deliveries."""
    async with engine.connect() as connection:
        due = {row.medium: row.number for row in await connection.execute(_DUE)}
        failed = await connection.scalar(_FAILED)
    for medium in MEDIA:
        metrics.DUE.labels(medium).set(due.get(medium, 0))
    metrics.FAILED.set(failed or 0)


async def tidy(engine: AsyncEngine, kept_days: int) -> None:
    """One round of upkeep: three jobs, none of which waits for another to succeed."""
    await _by_itself("make_partitions", _make_partitions(engine))
    await _by_itself("drop_partitions", _drop_partitions(engine))
    await _by_itself("forget_deliveries", _forget(engine, kept_days))


async def _by_itself(job: str, work: Awaitable[None]) -> None:
    try:
        await work
    except Exception as error:
        # Somebody was in the way, or the database is: the next turn does it.
        log.warning("upkeep_failed", job=job, error=type(error).__name__)


async def _make_partitions(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await ensure_partitions(connection)


async def _drop_partitions(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await drop_old_partitions(connection)


async def _forget(engine: AsyncEngine, kept_days: int) -> None:
    while True:
        async with engine.begin() as connection:
            if not await forget_old(connection, datetime.now(UTC), kept_days):
                return
