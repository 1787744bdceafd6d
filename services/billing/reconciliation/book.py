"""Book what only the PSP's statement declares: the fees that it kept, and its payouts to our bank.

Each is a movement of its own with an id derived from the PSP's line, so it is booked once however often the statement
is imported. Batches commit one by one, so that the clearing account, which every payment by PSP needs, is locked
briefly.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing import ledger
from services.billing.reconciliation.lines import PSP
from services.billing.reconciliation.store import lock

_BATCH = 5_000

# A positive amount is money that came back. There is no movement for that, so it becomes a break.
_UNBOOKED = text("""
    SELECT DISTINCT ON (l.our_id) l.our_id, l.kind, l.currency, -l.amount_minor AS amount_minor, l.occurred_at
    FROM statement_lines l
    WHERE l.statement_id = :statement_id AND l.kind IN ('fee', 'payout') AND l.amount_minor < 0
      AND NOT EXISTS (SELECT FROM booked_transfers t WHERE t.id = l.our_id)
    ORDER BY l.our_id LIMIT :batch
""")


async def book_declared(engine: AsyncEngine, statement_id: int) -> int:
    """Book the fees and payouts of this statement that are not booked yet; return how many there were."""
    booked = 0
    while True:
        async with engine.begin() as connection:
            await lock(connection, PSP)
            rows = await connection.execute(
                _UNBOOKED, {"statement_id": statement_id, "batch": _BATCH}
            )
            transfers = [
                (ledger.psp_fee if row.kind == "fee" else ledger.psp_settlement)(
                    row.our_id, row.currency, row.amount_minor, row.occurred_at
                )
                for row in rows
            ]
            await ledger.post(connection, transfers)
        booked += len(transfers)
        if len(transfers) < _BATCH:
            return booked
