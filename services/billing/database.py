"""Billing's metadata, and its engine. There is no ORM on the hot path."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis import database
from errands.tables import errands_tables

SCHEMA = "billing"
metadata = database.new_metadata()
errands_tables(metadata)


def connect(
    url: str,
    *,
    pool_size: int = 8,
    plan_cache_mode: database.PlanCacheMode = "auto",
    transaction_seconds: float | None = database.TRANSACTION_SECONDS,
) -> AsyncEngine:
    """Return an engine of billing. `url` is postgresql+asyncpg://…; nothing is opened yet."""
    return database.connect(
        url,
        SCHEMA,
        pool_size=pool_size,
        plan_cache_mode=plan_cache_mode,
        transaction_seconds=transaction_seconds,
    )


async def summarize_new_blocks(connection: AsyncConnection) -> int:
    """Summarize new blocks in the BRIN indexes, which find the rows of a span of time; return how many there were.

    A vacuum does it as well, but seldom runs where rows are only added. Locks are held until the transaction ends.
    """
    return int(await connection.scalar(text("SELECT summarize_new_blocks()")) or 0)
