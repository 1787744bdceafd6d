"""Payments that have ended without money, and about which the PSP may report something later."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import one_of
from services.billing.bills import Bill, find_bills
from services.billing.outside.calls import subjects_called
from services.billing.outside.ended import Ended, EndedRows, in_words, locks
from services.billing.payments.read import COLUMNS, payment_of
from services.billing.payments.tables import WITHOUT_MONEY

_WITHOUT_MONEY = one_of("state", WITHOUT_MONEY)
LOCK = locks("payments")
ROWS = EndedRows("payments", f"funding = 'psp' AND {_WITHOUT_MONEY}", "id")

_READ = text(f"""
    SELECT {COLUMNS} FROM payments
    WHERE id = ANY(CAST(:ids AS uuid[])) AND psp_intent_id IS NOT NULL AND {_WITHOUT_MONEY}
""")  # noqa: S608 - our own columns and states


async def read_ended(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Ended]:
    """Return those of these payments that have ended without money, and have an intent."""
    rows = (await connection.execute(_READ, {"ids": list(ids)})).all()
    bills = await find_bills(connection, [row.bill_id for row in rows])
    payments = [
        payment_of(row, bills.get(row.bill_id) or Bill.unknown(row.bill_id, row.created_at))
        for row in rows
    ]
    called = await subjects_called(connection, [p.subject for p in payments], ("apply", "unapply"))
    ended_payments: list[Ended] = []
    for each in payments:
        assert each.intent_id is not None
        how = in_words(each.state, each.reason)
        ended = Ended(each.subject, each.intent_id, each.amount_minor, each.currency, how, each.id)
        if each.by_call and each.subject in called:
            ended = replace(ended, biller_id=each.bill.biller_id, application=each.application)
        ended_payments.append(ended)
    return ended_payments
