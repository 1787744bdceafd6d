"""Refunds at the HTTP door: an objection or a promise. A payment that is only promised can be refunded, too."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.http.problems import Problem
from events.payments import RefundPayment
from services.billing.docs_pages.problem_types import MORE_THAN_IS_LEFT, NOT_REFUNDABLE
from services.billing.door.objections import not_found
from services.billing.door.promise import ACCEPTED, UNKEPT, Promise
from services.billing.payments.tables import CAPTURED
from services.billing.subject import Kind

# All of a promised payment can be refunded: the refund's command comes behind the payment's, when its result is known.
_FIND = text(f"""
    WITH asked AS (
        SELECT DISTINCT a.* FROM unnest(CAST(:ids AS uuid[]), CAST(:channel_ids AS text[])) a (id, channel_id))
    SELECT id, channel_id, p.payer, p.amount_minor, p.currency, p.state, p.left_minor
    FROM asked JOIN {ACCEPTED[Kind.PAYMENT]} p USING (id, channel_id)
    UNION ALL
    SELECT id, channel_id, p.payer, p.amount_minor, p.currency, p.state,
        CASE WHEN p.finished_at IS NULL THEN p.amount_minor ELSE 0 END
    FROM asked JOIN {UNKEPT[Kind.PAYMENT]} p USING (id, channel_id)
""")  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class LeftToRefund:
    """A payment or its promise, as far as a refund is checked against it."""

    payer: str
    amount_minor: int
    currency: str
    state: str
    left_minor: int


async def examine(
    connection: AsyncConnection, commands: Sequence[RefundPayment]
) -> list[Promise | Problem]:
    """Return for each of these refunds an objection as of now, or its promise."""
    parameters = {
        "ids": [each.payment_id for each in commands],
        "channel_ids": [each.channel for each in commands],
    }
    rows = await connection.execute(_FIND, parameters)
    payments = {(id, channel): LeftToRefund(*about) for id, channel, *about in rows}
    return [_examine(each, payments.get((each.payment_id, each.channel))) for each in commands]


def _examine(command: RefundPayment, payment: LeftToRefund | None) -> Promise | Problem:
    if payment is None:
        return not_found("payment")
    if payment.left_minor <= 0:
        detail = "Nothing of this payment is left to give back."
        if payment.state not in CAPTURED:
            detail = "Only a payment that has succeeded can be refunded."
        return Problem(NOT_REFUNDABLE, detail)
    if command.amount_minor is not None and command.amount_minor > payment.left_minor:
        detail = f"At most {payment.left_minor} (minor units of {payment.currency}) are left."
        return Problem(MORE_THAN_IS_LEFT, detail)
    return _promise(command, payment)


def _promise(command: RefundPayment, payment: LeftToRefund) -> Promise:
    return Promise(
        command.refund_id,
        Kind.REFUND,
        command,
        payment.payer,
        command.payment_id,
        command.amount_minor or payment.left_minor,
        payment.currency,
    )
