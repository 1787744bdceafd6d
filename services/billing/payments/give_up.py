"""End payments that wait for an institution and for which nothing was ever sent: after ten minutes, or when the bill is
over. The payer's money is let go."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.outside.busy import REASON, give_up
from services.billing.payments.tables import IS_OPEN
from services.billing.subject import Kind

# A payment that the PSP knows already is not at its first call, whatever its leg says.
_OVER = text(f"""
    SELECT p.id, p.psp_intent_id IS NOT NULL AND p.funding = 'psp' AS held_by_psp FROM payments p
    WHERE p.id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN} AND (p.state <> 'accepted' OR p.psp_intent_id IS NULL)
      AND (p.id = ANY(CAST(:late AS uuid[])) OR EXISTS (
          SELECT FROM bills b WHERE b.id = p.bill_id AND b.expires_at <= now()))
    ORDER BY p.id FOR NO KEY UPDATE OF p SKIP LOCKED
""")  # noqa: S608 - the states are our own constants
_REASON = text("UPDATE payments SET reason = :reason WHERE id = ANY(CAST(:ids AS uuid[]))")


async def give_up_waiting(connection: AsyncConnection) -> int:
    """Send them to the leg that lets the money go, in the caller's transaction; how many those were."""
    moved = await give_up(connection, Kind.PAYMENT, ["authorize", "apply"], _over)
    if moved:
        await connection.execute(_REASON, {"ids": moved, "reason": REASON})
    return len(moved)


async def _over(
    connection: AsyncConnection, ids: Sequence[UUID], late: Sequence[UUID]
) -> Mapping[UUID, bool]:
    rows = await connection.execute(_OVER, {"ids": list(ids), "late": list(late)})
    return {row.id: row.held_by_psp for row in rows}
