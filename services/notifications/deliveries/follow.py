"""List deliveries (to whom, what failed and why), and send a failed one again."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

Status = Literal["pending", "delivered", "failed"]

_COLUMNS = """
    id, event_id, event_type, medium, channel, payer, status, attempts, reason, next_attempt_at, created_at, ended_at
"""
_RETRY = text("""
    UPDATE deliveries SET status = 'pending', attempts = 0, next_attempt_at = now(), ended_at = NULL
    WHERE id = :id AND status = 'failed' RETURNING id
""")
# Ids are UUIDv7, so the oldest rows are the first of the primary key.
_FORGET = text("""
    DELETE FROM deliveries WHERE id IN (
        SELECT id FROM deliveries WHERE id < :before AND status <> 'pending' ORDER BY id LIMIT :limit)
""")


@dataclass(frozen=True, slots=True)
class Followed:
    """A delivery as its channel and operators see it."""

    id: UUID
    event_id: UUID
    event_type: str
    medium: str
    channel: str
    payer: str
    status: Status
    attempts: int
    reason: str | None
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


async def list_deliveries(
    connection: AsyncConnection,
    *,
    limit: int,
    channel: str | None = None,
    payer: str | None = None,
    status: Status | None = None,
    before: UUID | None = None,
) -> Sequence[Followed]:
    """Return deliveries older than `before`, newest first.

    Give a channel with a payer or with `failed`, for an index.
    """
    filters = {"channel": channel, "payer": payer, "status": status}
    where = [f"{name} = :{name}" for name, value in filters.items() if value is not None]
    if before is not None:
        where.append("id < :before")
    sql = (
        f"SELECT {_COLUMNS} FROM deliveries WHERE {' AND '.join(where) or 'true'}"  # noqa: S608 - fixed words
        " ORDER BY id DESC LIMIT :limit"
    )
    values = {name: value for name, value in filters.items() if value is not None}
    rows = await connection.execute(
        text(sql), {**values, "limit": limit, **({"before": before} if before else {})}
    )
    return [Followed(*row) for row in rows]


async def retry(connection: AsyncConnection, id: UUID) -> bool:
    """Send a failed delivery again, from the start of its schedule; return False when no failed one has this id."""
    return (await connection.execute(_RETRY, {"id": id})).first() is not None


async def forget_old(
    connection: AsyncConnection, now: datetime, kept_days: int, limit: int = 5_000
) -> int:
    """Delete up to `limit` ended deliveries that are older than `kept_days`; return how many were deleted."""
    milliseconds = int((now - timedelta(days=kept_days)).timestamp() * 1000)
    before = UUID(int=milliseconds << 80)
    gone = await connection.execute(_FORGET, {"before": before, "limit": limit})
    return int(gone.rowcount)
