"""Read the refunds that are under way, with what their calls need."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Errand
from services.billing import ledger
from services.billing.bills.connectors import Application
from services.billing.payments.model import serial_of
from services.billing.refunds.model import Refund

_READ = text("""
    SELECT r.id, r.transfer_id, r.payment_id, r.amount_minor, r.state, r.psp_refund_id, r.correlation_id, r.reason,
        r.reversal, p.psp_intent_id, p.biller_id, p.channel_id, p.payer, p.currency, p.funding, b.settled_by,
        p.amount_minor AS applied_minor, a.account_number, l.bill_number,
        older.open_minor, p.refunded_minor + older.open_minor + r.amount_minor = p.captured_minor AS completes
    FROM refunds r JOIN payments p ON p.id = r.payment_id JOIN billers b ON b.id = p.biller_id
    JOIN accounts a ON a.id = p.account_id JOIN bills l ON l.id = p.bill_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(o.amount_minor), 0) AS open_minor FROM refunds o
        WHERE o.payment_id = r.payment_id AND o.state IN ('accepted', 'unapplied')
          AND (o.created_at, o.id) < (r.created_at, r.id)) older
    WHERE r.id = ANY(CAST(:ids AS uuid[])) AND r.state IN ('accepted', 'unapplied')
""")


async def read_open(connection: AsyncConnection, claimed: Sequence[Errand]) -> list[Refund]:
    """The refunds of these errands that are still under way; the errand of one that has ended goes."""
    found = {each.subject: each for each in claimed}
    refunds = await read(connection, list(found))
    still_open = {each.id for each in refunds}
    await errands.end_all_but(connection, claimed, still_open)
    return [replace(each, errand=found[each.id]) for each in refunds]


async def read(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Refund]:
    """The refunds among these that are still under way, without their errands."""
    if not ids:
        return []
    rows = await connection.execute(_READ, {"ids": list(ids)})
    return [
        Refund(
            id=row.id,
            payment_id=row.payment_id,
            amount_minor=row.amount_minor,
            state=row.state,
            application=Application(
                serial_of(row.payment_id),
                row.account_number,
                row.bill_number,
                row.applied_minor,
                row.currency,
            ),
            currency=row.currency,
            intent_id=row.psp_intent_id,
            wallet=ledger.wallet(row.channel_id, row.payer, row.currency)
            if row.funding == "wallet"
            else None,
            biller_id=row.biller_id,
            completes=row.completes,
            waits=row.completes and row.open_minor > 0,
            by_file=row.settled_by == "file",
            psp_refund_id=row.psp_refund_id,
            reason=row.reason,
            correlation_id=row.correlation_id,
            reversal=row.reversal,
            transfer_id=row.transfer_id,
        )
        for row in rows
    ]
