"""Read payments with their bills: those of claimed errands, and those that have succeeded."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Errand, UnclaimedCache
from services.billing.bills import Bill, find_bills
from services.billing.outside.cases import NewCase, open_cases
from services.billing.payments.model import Payment
from services.billing.payments.tables import IS_OPEN, State
from services.billing.subject import Kind, Subject

COLUMNS = """
    id, channel_id, payer, bill_id, amount_minor, currency, payment_method, state, created_at, psp_intent_id,
    action_url, reason, correlation_id, former_psp_key
"""
_OPEN = text(f"SELECT {COLUMNS} FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN}")  # noqa: S608 - ours
_PAID = text(f"""
    SELECT {COLUMNS} FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) AND captured_minor > 0
""")  # noqa: S608 - our own columns


async def read_claimed(
    unclaimed: UnclaimedCache[Payment], connection: AsyncConnection, claimed: Sequence[Errand]
) -> list[Payment]:
    """Return the payments of these errands that are still under way; those in this process's cache are not read."""
    known, others = unclaimed.pop(claimed)
    payments = [payment._replace(errand=errand) for payment, errand in known]
    return payments + await read_open(connection, others)


async def read_open(connection: AsyncConnection, claimed: Sequence[Errand]) -> list[Payment]:
    """Return the payments of these errands that are still under way, with their bills.

    The errand of a payment that has ended is deleted. A payment whose bill does not exist becomes a case: no
    institution can be called about it, and it must not stop the others.
    """
    if not claimed:
        return []
    errands_by_payment = {each.subject: each for each in claimed}
    rows = (await connection.execute(_OPEN, {"ids": list(errands_by_payment)})).all()
    still_open = {row.id for row in rows}
    await errands.end_all_but(connection, claimed, still_open)
    bills = await find_bills(connection, [row.bill_id for row in rows])
    lost = [Subject(Kind.PAYMENT, row.id) for row in rows if row.bill_id not in bills]
    note = "its bill does not exist, so no call can be made: restore it from a backup, or void the hold at the PSP"
    await open_cases(connection, [NewCase(each, "bill_missing", note) for each in lost])
    return [
        payment_of(row, bills[row.bill_id])._replace(errand=errands_by_payment[row.id])
        for row in rows
        if row.bill_id in bills
    ]


async def find_paid(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Payment]:
    """Return those of these payments that have succeeded (whatever was refunded since) and whose bills exist."""
    if not ids:
        return {}
    rows = (await connection.execute(_PAID, {"ids": list(ids)})).all()
    bills = await find_bills(connection, [row.bill_id for row in rows])
    return {row.id: payment_of(row, bills[row.bill_id]) for row in rows if row.bill_id in bills}


def payment_of(row: Row[Any], bill: Bill) -> Payment:
    """Return the payment of a row with these COLUMNS."""
    return Payment(
        id=row.id,
        channel=row.channel_id,
        payer=row.payer,
        bill=bill,
        amount_minor=row.amount_minor,
        currency=row.currency,
        payment_method=row.payment_method,
        state=State(row.state),
        created_at=row.created_at,
        intent_id=row.psp_intent_id,
        action_url=row.action_url,
        reason=row.reason,
        correlation_id=row.correlation_id,
        former_key=bool(row.former_psp_key),
    )
