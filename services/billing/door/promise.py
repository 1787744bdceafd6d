"""The HTTP door's half of a payment: promise it, and hand the command to Kafka, in one transaction.

What is plainly wrong (an unknown bill, another amount) is said at once; the worker decides again, and finally. Until
it has looked, the row in payment_requests is the payment that the wallet asks for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import copy
from events.message import Event
from events.payments import PayBill, RefundPayment, TopUpWallet
from events.signature import SigningKey
from messaging.outbox import Outgoing, enqueue
from services.billing.bills import find_bills
from services.billing.channels import payment_limits
from services.billing.door.promises import KEPT
from services.billing.payments.accept import reason_against
from services.billing.payments.tables import HOLDS_ITS_BILL
from services.billing.subject import Kind
from services.billing.top_ups import decide as about_top_ups

_COLUMNS = (
    "id",
    "kind",
    "channel_id",
    "payer",
    "subject",
    "amount_minor",
    "currency",
    "command_id",
)
_LIVE = text(f"""
    SELECT bill_id FROM payments WHERE bill_id = ANY(CAST(:bills AS uuid[])) AND {HOLDS_ITS_BILL}
""")  # noqa: S608 - the states are our own constants
_PAYMENT = text(f"""
    SELECT payer, amount_minor, currency, state, captured_minor - refunded_minor - refund_pending_minor AS left_minor
    FROM payments WHERE id = :id AND channel_id = :channel
    UNION ALL
    SELECT payer, amount_minor, currency, CASE WHEN failed_at IS NULL THEN 'promised' ELSE 'not_accepted' END,
        CASE WHEN failed_at IS NULL THEN amount_minor ELSE 0 END
    FROM payment_requests r
    WHERE id = :id AND channel_id = :channel AND kind = 'payment' AND NOT {KEPT[Kind.PAYMENT]}
""")  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class Promise:
    """A command, and what the wallet is shown until the worker has looked."""

    id: UUID
    kind: str
    command: Event
    channel: str
    payer: str
    subject: UUID | None
    amount_minor: int
    currency: str
    correlation_id: str | None


@dataclass(frozen=True, slots=True)
class Refundable:
    """What a refund is checked against at the door."""

    payer: str
    currency: str
    state: str
    amount_minor: int
    left_minor: int


async def objections(connection: AsyncConnection, commands: Sequence[PayBill]) -> dict[UUID, str]:
    """Why these payments could not begin as things stand, by payment id; what is missing has no objection."""
    bills = await find_bills(connection, [each.bill_id for each in commands])
    limits = await payment_limits(connection)
    live = await connection.execute(_LIVE, {"bills": [each.bill_id for each in commands]})
    taken = set(live.scalars())
    found: dict[UUID, str] = {}
    for each in commands:
        reason = reason_against(each, bills.get(each.bill_id), limits)
        if reason is None and each.bill_id in taken:
            reason = "bill_already_paid"
        if reason:
            found[each.payment_id] = reason
    return found


async def objection_to_top_up(connection: AsyncConnection, command: TopUpWallet) -> str | None:
    """Why this top-up could not begin."""
    return about_top_ups.reason_against(command, await payment_limits(connection))


async def refundable(
    connection: AsyncConnection, channel: str, payment_id: UUID
) -> Refundable | None:
    """The channel's payment as far as a refund needs it, or its promise; None when the channel has neither.

    All of a promised payment is refundable here: whether it succeeds is known when the refund comes behind it.
    """
    row = (await connection.execute(_PAYMENT, {"id": payment_id, "channel": channel})).one_or_none()
    if row is None:
        return None
    return Refundable(row.payer, row.currency, row.state, row.amount_minor, row.left_minor)


async def promise(
    connection: AsyncConnection, promises: Sequence[Promise], key: SigningKey | None
) -> None:
    """Keep the promises and enqueue their commands, signed with the door's key, in the caller's transaction."""
    if not promises:
        return
    commands = [
        Outgoing.of(each.command, 1, correlation_id=each.correlation_id).signed(key)
        for each in promises
    ]
    rows = [
        (
            p.id,
            p.kind,
            p.channel,
            p.payer,
            p.subject,
            p.amount_minor,
            p.currency,
            command.event_id,
        )
        for p, command in zip(promises, commands, strict=True)
    ]
    await copy(connection, "payment_requests", _COLUMNS, rows)
    await enqueue(connection, commands)


def of_payment(command: PayBill, correlation_id: str | None) -> Promise:
    return Promise(
        command.payment_id,
        "payment",
        command,
        command.channel,
        command.payer,
        command.bill_id,
        command.amount_minor,
        command.currency,
        correlation_id,
    )


def of_refund(command: RefundPayment, payment: Refundable, correlation_id: str | None) -> Promise:
    amount = command.amount_minor or payment.left_minor
    return Promise(
        command.refund_id,
        "refund",
        command,
        command.channel,
        payment.payer,
        command.payment_id,
        amount,
        payment.currency,
        correlation_id,
    )


def of_top_up(command: TopUpWallet, correlation_id: str | None) -> Promise:
    return Promise(
        command.top_up_id,
        "top_up",
        command,
        command.channel,
        command.payer,
        None,
        command.amount_minor,
        command.currency,
        correlation_id,
    )
