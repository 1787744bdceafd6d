"""Read refunds under way, with the columns that their external calls need."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from chassis.database import one_of
from errands import Errand
from services.billing.payments.model import Payment
from services.billing.payments.read import find_paid
from services.billing.payments.refundable import NOT_GIVEN_BACK
from services.billing.refunds.model import Refund
from services.billing.refunds.tables import OPEN, RefundState

# A refund that completes its payment waits for those before it. `open_minor`: the sum of the older open refunds. One
# statement reads both sums, because an older refund may end at any moment and must be counted in exactly one of them.
_READ = text(f"""
    SELECT r.id, r.transfer_id, r.payment_id, r.amount_minor, r.state, r.psp_refund_id, r.correlation_id, r.reason,
        r.reversal, older.open_minor, {NOT_GIVEN_BACK} - older.open_minor = r.amount_minor AS completes
    FROM refunds r
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(o.amount_minor), 0) AS open_minor FROM refunds o
        WHERE o.payment_id = r.payment_id AND {one_of("o.state", OPEN)}
          AND (o.created_at, o.id) < (r.created_at, r.id)) older
    WHERE r.id = ANY(CAST(:ids AS uuid[])) AND {one_of("r.state", OPEN)}
""")  # noqa: S608 - the states are our own constants


async def read_open(connection: AsyncConnection, claimed: Sequence[Errand]) -> list[Refund]:
    """Return the refunds of these errands that are still under way; the errands of the others are deleted."""
    errands_by_refund = {each.subject: each for each in claimed}
    refunds = await read(connection, list(errands_by_refund))
    still_open = {each.id for each in refunds}
    await errands.end_all_but(connection, claimed, still_open)
    return [replace(each, errand=errands_by_refund[each.id]) for each in refunds]


async def read(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Refund]:
    """Return those of these refunds that are still under way, without their errands."""
    if not ids:
        return []
    rows = (await connection.execute(_READ, {"ids": list(ids)})).all()
    paid = await find_paid(connection, [row.payment_id for row in rows])
    return [_refund(row, paid[row.payment_id]) for row in rows if row.payment_id in paid]


def _refund(row: Row[Any], payment: Payment) -> Refund:
    return Refund(
        id=row.id,
        payment_id=payment.id,
        amount_minor=row.amount_minor,
        state=RefundState(row.state),
        application=payment.application,
        currency=payment.currency,
        intent_id=payment.intent_id,
        wallet=None if payment.by_psp else payment.wallet,
        biller_id=payment.bill.biller_id,
        completes=row.completes,
        waits=row.completes and row.open_minor > 0,
        by_file=not payment.by_call,
        psp_refund_id=row.psp_refund_id,
        reason=row.reason,
        correlation_id=row.correlation_id,
        reversal=row.reversal,
        transfer_id=row.transfer_id,
    )
