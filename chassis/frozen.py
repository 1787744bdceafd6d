"""End sessions of processes that were stopped inside a COPY.

PostgreSQL ends a transaction that is too long in every situation but one: while it reads the rows of a COPY. A process
that is frozen there would keep its locks for as long as it is frozen, so the other processes end its session.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator

import structlog
from prometheus_client import Counter
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import APPLICATION, TRANSACTION_SECONDS

# The interval at which every process looks for frozen sessions; one look costs less than a millisecond.
LOOK_SECONDS = 2.0

ENDED = Counter(
    "frozen_sessions_ended_total",
    "Sessions that this process ended because their process had stopped inside a COPY",
)
# Our rows are in memory before their COPY begins, so a COPY that waits for rows waits for a stopped process.
_END = text("""
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND usename = current_user AND application_name = :application
        AND state = 'active' AND wait_event = 'ClientRead'
        AND query_start < clock_timestamp() - make_interval(secs => :seconds)
""")

log = structlog.get_logger()


async def end_frozen_sessions(engine: AsyncEngine) -> int:
    """End the sessions of this database and role that have waited too long for rows; return how many were ended."""
    async with engine.connect() as connection:
        values = {"application": APPLICATION, "seconds": TRANSACTION_SECONDS}
        ended = len((await connection.execute(_END, values)).all())
    if ended:
        ENDED.inc(ended)
        log.warning("frozen_sessions_ended", sessions=ended)
    return ended


@contextlib.asynccontextmanager
async def ending_frozen_sessions(engine: AsyncEngine) -> AsyncIterator[None]:
    """End frozen sessions at regular intervals while this context is entered."""
    task = asyncio.create_task(_end_at_intervals(engine))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def _end_at_intervals(engine: AsyncEngine) -> None:
    while True:
        try:
            await end_frozen_sessions(engine)
        except Exception as error:
            # The database is unreachable, or the pool is exhausted: try again after the interval.
            log.warning("frozen_sessions_not_seen", error=type(error).__name__)
        await asyncio.sleep(LOOK_SECONDS)
