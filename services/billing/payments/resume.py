"""Take up what is due again: whatever was left open by a process that died, or by an answer that never came.

A claim moves the due time on, so that another timer leaves these alone for as long as the calls may take.
"""

from datetime import timedelta
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.bills import find_bills
from services.billing.payments.cases import NewCase, open_cases
from services.billing.payments.model import Payment
from services.billing.payments.tables import IS_OPEN, State
from services.billing.subject import Kind, Subject

# Longer than every outside call of a payment together may take.
LEASE = timedelta(seconds=60)
# One transaction claims at most this many.
LARGEST_CLAIM = 200

Table = Literal["payments", "refunds", "top_ups"]


def _claim(table: str) -> str:
    # Materialized, so that what is locked and what is updated are surely the same rows.
    return f"""
        WITH due AS MATERIALIZED (
            SELECT id FROM {table} WHERE next_attempt_at <= now()
            ORDER BY next_attempt_at LIMIT :most FOR NO KEY UPDATE SKIP LOCKED)
        UPDATE {table} t SET next_attempt_at = now() + CAST(:lease AS interval), attempts = t.attempts + 1
        FROM due WHERE t.id = due.id RETURNING t.id
    """  # noqa: S608 - the table is one of ours


_CLAIM = {table: text(_claim(table)) for table in ("payments", "refunds", "top_ups")}
_READ = text(f"""
    SELECT id, channel_id, payer, bill_id, amount_minor, currency, payment_method, state, created_at, psp_intent_id,
        action_url, unknown_leg, attempts, reason, correlation_id, former_psp_key
    FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN}
""")  # noqa: S608 - the states are our own constants


async def claim(connection: AsyncConnection, table: Table, most: int = LARGEST_CLAIM) -> list[UUID]:
    """Claim at most so many of the rows that are due, in the caller's transaction."""
    if most <= 0:
        return []
    rows = await connection.execute(
        _CLAIM[table], {"lease": LEASE, "most": min(most, LARGEST_CLAIM)}
    )
    return list(rows.scalars())


async def read_open(connection: AsyncConnection, ids: list[UUID]) -> list[Payment]:
    """The payments among these that are still under way, with their bills.

    A payment whose bill does not exist becomes a case: nobody can be asked about it, and it must not stop the others.
    """
    if not ids:
        return []
    rows = (await connection.execute(_READ, {"ids": ids})).all()
    bills = await find_bills(connection, [row.bill_id for row in rows])
    lost = [Subject(Kind.PAYMENT, row.id) for row in rows if row.bill_id not in bills]
    note = "its bill does not exist, so nobody can be asked: restore the bill, or see what the PSP holds"
    await open_cases(connection, [NewCase(each, "bill_missing", note) for each in lost])
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
            created_at=row.created_at,
            intent_id=row.psp_intent_id,
            action_url=row.action_url,
            unknown_leg=row.unknown_leg,
            attempts=row.attempts,
            reason=row.reason,
            correlation_id=row.correlation_id,
            former_key=bool(row.former_psp_key),
        )
        for row in rows
        if row.bill_id in bills
    ]
