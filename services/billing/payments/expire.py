"""End payments that no call was sent for and that have waited for ten minutes, or whose bill has expired."""

from collections.abc import Mapping, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.bills import find_bills
from services.billing.outside.expire import REASON, redirect_expired
from services.billing.payments.tables import IS_OPEN, State
from services.billing.subject import Kind

_BILLS = text(f"""
    SELECT id, bill_id FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN}
""")  # noqa: S608 - the states are our own constants
# A payment that the PSP knows already is past its first call, whatever its errand's leg is.
_LOCK = text(f"""
    SELECT id, psp_intent_id IS NOT NULL AND funding = 'psp' AS held_by_psp FROM payments
    WHERE id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN}
      AND (state <> '{State.ACCEPTED}' OR psp_intent_id IS NULL)
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
""")  # noqa: S608 - the states are our own constants
_REASON = text("UPDATE payments SET reason = :reason WHERE id = ANY(CAST(:ids AS uuid[]))")


async def expire_waiting(connection: AsyncConnection) -> int:
    """Redirect expired payments to the leg that releases their money, in the caller's transaction; return how many."""
    legs = ["authorize", "apply"]
    expired = await redirect_expired(connection, Kind.PAYMENT, legs, _lock_expired)
    if expired:
        await connection.execute(_REASON, {"ids": expired, "reason": REASON})
    return len(expired)


async def _lock_expired(
    connection: AsyncConnection, ids: Sequence[UUID], late: Sequence[UUID]
) -> Mapping[UUID, bool]:
    rows = (await connection.execute(_BILLS, {"ids": list(ids)})).all()
    bills = await find_bills(connection, list({row.bill_id for row in rows}))
    expired = {bill.id for bill in bills.values() if bill.expired}
    due = set(late).union(row.id for row in rows if row.bill_id in expired)
    locked = await connection.execute(_LOCK, {"ids": list(due)})
    return {row.id: row.held_by_psp for row in locked}
