"""Create the outbox's daily partitions ahead of time, and drop those that are old and published."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

DAYS_AHEAD = 7  # upkeep may fail for a week before a writer finds no partition
RETENTION_DAYS = 7  # events of this period can be published again; Kafka keeps them as long


async def ensure_partitions(connection: AsyncConnection, days_ahead: int = DAYS_AHEAD) -> int:
    """Create missing partitions from today to `days_ahead`; return how many were created. Run it hourly."""
    created = await connection.scalar(
        text("SELECT outbox_ensure_partitions(:days)"), {"days": days_ahead}
    )
    return int(created or 0)


async def drop_old_partitions(
    connection: AsyncConnection, retention_days: int = RETENTION_DAYS
) -> list[str]:
    """Drop the partitions that are past retention and published to the last row; return their names.

    Raises a DBAPIError (lock_not_available) when a reader or writer is in the way for too long: try again later.
    """
    rows = await connection.execute(
        text("SELECT outbox_drop_partitions(:days)"), {"days": retention_days}
    )
    return [str(name) for name in rows.scalars()]
