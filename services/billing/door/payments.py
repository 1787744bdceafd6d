"""Payments at the HTTP door: an objection or a promise."""

from collections.abc import Sequence

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.http.problems import Problem
from events.payments import PayBill
from services.billing.bills import find_bills
from services.billing.channels import payment_limits
from services.billing.door.objections import objection
from services.billing.door.promise import Promise
from services.billing.payments.accept import reason_against
from services.billing.subject import Kind

_BILLS_BEING_PAID = text(
    "SELECT bill_id FROM live_bills WHERE bill_id = ANY(CAST(:bill_ids AS uuid[]))"
)


async def examine(
    connection: AsyncConnection, commands: Sequence[PayBill]
) -> list[Promise | Problem]:
    """Return for each of these payments an objection as of now, or its promise."""
    ids = [each.bill_id for each in commands]
    bills = await find_bills(connection, ids)
    limits = await payment_limits(connection)
    being_paid = set((await connection.execute(_BILLS_BEING_PAID, {"bill_ids": ids})).scalars())
    results: list[Promise | Problem] = []
    for command in commands:
        reason = reason_against(command, bills.get(command.bill_id), limits)
        if reason is None and command.bill_id in being_paid:
            reason = "bill_already_paid"
        results.append(objection(reason) if reason else _promise(command))
    return results


def _promise(command: PayBill) -> Promise:
    return Promise(
        command.payment_id,
        Kind.PAYMENT,
        command,
        command.payer,
        command.bill_id,
        command.amount_minor,
        command.currency,
    )
