"""Payments and top-ups that wait for an institution and for which nothing was ever sent do not wait for ever.

After ten minutes, or when the bill is over, they end as `institution_busy`, and the payer's money is let go. What may
have been sent is never given up by a clock.
"""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from services.billing import institutions
from services.billing.payments.tables import IS_OPEN
from services.billing.subject import Kind

# A payer who looks at the phone has given up long before.
PATIENCE_SECONDS = 600.0
REASON = "institution_busy"

# A payment that the PSP knows already is not at its first call, whatever its leg says.
_OVER = text(f"""
    SELECT p.id, p.psp_intent_id IS NOT NULL AND p.funding = 'psp' AS held_by_psp FROM payments p
    WHERE p.id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN} AND (p.state <> 'accepted' OR p.psp_intent_id IS NULL)
      AND (p.id = ANY(CAST(:late AS uuid[])) OR EXISTS (
          SELECT FROM bills b WHERE b.id = p.bill_id AND b.expires_at <= now()))
    ORDER BY p.id FOR NO KEY UPDATE OF p SKIP LOCKED
""")  # noqa: S608 - the states are our own constants
_TOP_UPS = text("""
    SELECT id, false AS held_by_psp FROM top_ups
    WHERE id = ANY(CAST(:late AS uuid[])) AND state = 'accepted' AND psp_intent_id IS NULL
    ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
""")
_REASONS = {
    kind: text(f"UPDATE {table} SET reason = :reason WHERE id = ANY(CAST(:ids AS uuid[]))")  # noqa: S608 - ours
    for kind, table in ((Kind.PAYMENT, "payments"), (Kind.TOP_UP, "top_ups"))
}


async def give_up_waiting(connection: AsyncConnection) -> int:
    """Send them to the leg that lets the money go, in the caller's transaction; how many those were."""
    payments = await _redirect(connection, Kind.PAYMENT, ["authorize", "apply"], _OVER)
    return payments + await _redirect(connection, Kind.TOP_UP, ["charge"], _TOP_UPS)


async def _redirect(
    connection: AsyncConnection, kind: Kind, legs: Sequence[str], statement: TextClause
) -> int:
    found = await errands.unsent(connection, kind, legs)
    if not found:
        return 0
    late = [each.subject for each in found if each.seconds > PATIENCE_SECONDS]
    rows = await connection.execute(
        statement, {"ids": [each.subject for each in found], "late": late}
    )
    to: dict[UUID, tuple[str, str]] = {
        row.id: (institutions.PSP if row.held_by_psp else institutions.LEDGER, "void")
        for row in rows
    }
    moved = await errands.redirect(connection, kind, to, legs)
    if moved:
        await connection.execute(_REASONS[kind], {"ids": list(moved), "reason": REASON})
    return len(moved)
