"""Take up what is due again: whatever was left open by a process that died, or by an answer that never came.

A claim moves the due time on, so that another timer leaves these alone for as long as the calls may take.
"""

from datetime import timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.bills import find_bills
from services.billing.payments.model import Payment
from services.billing.payments.tables import State

# Longer than every outside call of a payment together may take.
LEASE = timedelta(seconds=60)


def _claim(table: str, limit: int = 200) -> str:
    return f"""
        UPDATE {table} SET next_attempt_at = now() + CAST(:lease AS interval), attempts = attempts + 1
        WHERE id IN (
            SELECT id FROM {table} WHERE next_attempt_at <= now()
            ORDER BY next_attempt_at LIMIT {limit} FOR UPDATE SKIP LOCKED)
        RETURNING id
    """  # noqa: S608 - the table is one of ours


_CLAIM = {table: text(_claim(table)) for table in ("payments", "refunds", "top_ups")}
_READ = text("""
    SELECT id, channel_id, payer, bill_id, amount_minor, currency, payment_method, state, version, created_at,
        psp_intent_id, action_url, unknown_leg, unknown_since, attempts, reason, correlation_id
    FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) AND state IN ('accepted', 'authorized', 'applied')
""")


async def claim(connection: AsyncConnection, table: str) -> list[UUID]:
    """Claim the rows of payments, refunds or top_ups that are due, in the caller's transaction."""
    rows = await connection.execute(_CLAIM[table], {"lease": LEASE})
    return list(rows.scalars())


async def read_open(connection: AsyncConnection, ids: list[UUID]) -> list[Payment]:
    """The payments among these that are still under way, with their bills."""
    if not ids:
        return []
    rows = (await connection.execute(_READ, {"ids": ids})).all()
    bills = await find_bills(connection, [row.bill_id for row in rows])
    return [
        Payment(
            id=row.id,
            channel=row.channel_id,
            payer=row.payer,
            bill=bills[row.bill_id],
            amount_minor=row.amount_minor,
            currency=row.currency,
            payment_method=row.payment_method,
            state=State(row.state),
            version=row.version,
            created_at=row.created_at,
            intent_id=row.psp_intent_id,
            action_url=row.action_url,
            unknown_leg=row.unknown_leg,
            unknown_since=row.unknown_since,
            attempts=row.attempts,
            reason=row.reason,
            correlation_id=row.correlation_id,
        )
        for row in rows
    ]
