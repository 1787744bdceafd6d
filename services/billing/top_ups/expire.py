"""End top-ups that have waited ten minutes for a place at the PSP and for which no call was sent."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.outside.expire import REASON, redirect_expired
from services.billing.subject import Kind
from services.billing.top_ups.tables import IS_OPEN

_OVER = text(f"""
    SELECT id FROM top_ups WHERE id = ANY(CAST(:late AS uuid[])) AND {IS_OPEN} AND psp_intent_id IS NULL
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608 - the states are our own constants
_REASON = text("UPDATE top_ups SET reason = :reason WHERE id = ANY(CAST(:ids AS uuid[]))")


async def expire_waiting(connection: AsyncConnection) -> int:
    """Redirect expired top-ups to the leg that ends them, in the caller's transaction; return their number."""
    expired = await redirect_expired(connection, Kind.TOP_UP, ["charge"], _lock_expired)
    if expired:
        await connection.execute(_REASON, {"ids": expired, "reason": REASON})
    return len(expired)


async def _lock_expired(
    connection: AsyncConnection, ids: Sequence[UUID], late: Sequence[UUID]
) -> Mapping[UUID, bool]:
    rows = await connection.execute(_OVER, {"late": list(late)})
    return dict.fromkeys(rows.scalars(), False)
