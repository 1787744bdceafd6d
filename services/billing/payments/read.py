"""Read payments with their bills: of claimed errands, those that have succeeded, and those that ended without money."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from chassis.database import one_of
from errands import Errand
from services.billing.bills import Bill, find_bills
from services.billing.outside.cases import NewCase, open_cases
from services.billing.payments.model import Payment
from services.billing.payments.tables import IS_OPEN, WITHOUT_MONEY, State
from services.billing.subject import Kind, Subject

_COLUMNS = """
    id, channel_id, payer, bill_id, amount_minor, currency, payment_method, state, created_at, psp_intent_id,
    action_url, reason, correlation_id, former_psp_key
"""
_OPEN = text(f"SELECT {_COLUMNS} FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN}")  # noqa: S608 - ours
_PAID = text(f"""
    SELECT {_COLUMNS} FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) AND captured_minor > 0
""")  # noqa: S608 - our own columns
_ENDED = text(f"""
    SELECT {_COLUMNS} FROM payments
    WHERE id = ANY(CAST(:ids AS uuid[])) AND psp_intent_id IS NOT NULL AND {one_of("state", WITHOUT_MONEY)}
""")  # noqa: S608 - our own columns and states

# Payments that found no place, as this process accepted them; more are read from the table.
MOST_REMEMBERED = 10_000


class Reader:
    """Reads the payments of claimed errands. What this process has accepted itself it need not read for the first claim
    of it: nobody has changed a payment that nobody has claimed."""

    def __init__(self) -> None:
        self._remembered: dict[UUID, Payment] = {}

    def remember(self, waiting: Sequence[Payment]) -> None:
        """Keep payments that were accepted and found no place, each with the errand that was written."""
        self._remembered.update((each.id, each) for each in waiting)
        while len(self._remembered) > MOST_REMEMBERED:
            # The oldest: another process has claimed it, or will soon.
            del self._remembered[next(iter(self._remembered))]

    async def read(self, connection: AsyncConnection, claimed: Sequence[Errand]) -> list[Payment]:
        """The payments of these errands that are still under way."""
        payments: list[Payment] = []
        others: list[Errand] = []
        for each in claimed:
            known = self._remembered.pop(each.subject, None)
            first = each.fence == 1 and not each.contested
            if known and first and known.errand.leg == each.leg:
                payments.append(known._replace(errand=each))
            else:
                others.append(each)
        return payments + await read_open(connection, others)


async def read_open(connection: AsyncConnection, claimed: Sequence[Errand]) -> list[Payment]:
    """The payments of these errands that are still under way, with their bills.

    An errand whose payment has ended goes. A payment whose bill does not exist becomes a case: nobody can be asked
    about it, and it must not stop the others.
    """
    if not claimed:
        return []
    found = {each.subject: each for each in claimed}
    rows = (await connection.execute(_OPEN, {"ids": list(found)})).all()
    still_open = {row.id for row in rows}
    await errands.end_all_but(connection, claimed, still_open)
    bills = await find_bills(connection, [row.bill_id for row in rows])
    lost = [Subject(Kind.PAYMENT, row.id) for row in rows if row.bill_id not in bills]
    note = "its bill does not exist, so nobody can be asked: restore the bill, or see what the PSP holds"
    await open_cases(connection, [NewCase(each, "bill_missing", note) for each in lost])
    return [
        _payment(row, bills[row.bill_id])._replace(errand=found[row.id])
        for row in rows
        if row.bill_id in bills
    ]


async def find_ended(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Payment]:
    """Those of these payments that have ended without money, and have an intent at the PSP."""
    if not ids:
        return []
    rows = (await connection.execute(_ENDED, {"ids": list(ids)})).all()
    bills = await find_bills(connection, [row.bill_id for row in rows])
    return [
        _payment(row, bills.get(row.bill_id) or Bill.unknown(row.bill_id, row.created_at))
        for row in rows
    ]


async def find_paid(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Payment]:
    """Those of these payments that have succeeded, whatever went back since, and whose bills exist."""
    if not ids:
        return {}
    rows = (await connection.execute(_PAID, {"ids": list(ids)})).all()
    bills = await find_bills(connection, [row.bill_id for row in rows])
    return {row.id: _payment(row, bills[row.bill_id]) for row in rows if row.bill_id in bills}


def _payment(row: Row[Any], bill: Bill) -> Payment:
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
