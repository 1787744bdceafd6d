"""Promises: requests that the HTTP door has answered with 202. A row and its command are written in one transaction.

Until the worker has accepted the command, the wallet is shown the row in payment_requests.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import copy
from events.payments import PayBill, RefundPayment, TopUpWallet
from events.signature import SigningKey
from messaging.outbox import Outgoing, enqueue
from services.billing.door.tables import NOT_ACCEPTED
from services.billing.payments import tables as payments
from services.billing.refunds import tables as refunds
from services.billing.subject import Kind
from services.billing.top_ups import tables as top_ups

Command = PayBill | RefundPayment | TopUpWallet

# Payments, top-ups and refunds that the worker has accepted, as relations for SQL.
ACCEPTED: Mapping[Kind, str] = {
    Kind.PAYMENT: payments.SHOWN,
    Kind.REFUND: refunds.SHOWN,
    Kind.TOP_UP: top_ups.SHOWN,
}
# A promise `r` is kept by a row of its own channel; another channel may have used the same id.
KEPT: Mapping[Kind, str] = {
    kind: f"EXISTS (SELECT FROM {accepted} a WHERE a.id = r.id AND a.channel_id = r.channel_id)"
    for kind, accepted in ACCEPTED.items()
}
# Promises that are not kept yet, as relations for SQL. They count as accepted until their command becomes a dead
# letter.
UNKEPT: Mapping[Kind, str] = {
    kind: f"""(
        SELECT r.id, r.channel_id, r.payer, r.subject, r.amount_minor, r.currency,
            CASE WHEN r.failed_at IS NULL THEN '{payments.State.ACCEPTED}' ELSE '{NOT_ACCEPTED}' END AS state,
            r.reason, r.created_at, r.failed_at AS finished_at
        FROM payment_requests r WHERE r.kind = '{kind}' AND NOT {kept})"""  # noqa: S608 - our own text
    for kind, kept in KEPT.items()
}

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


@dataclass(frozen=True, slots=True)
class Promise:
    """A command with its row for the wallet until the worker has accepted it. `subject`: the bill, or the payment."""

    id: UUID
    kind: Kind
    command: Command
    payer: str
    subject: UUID | None
    amount_minor: int
    currency: str


async def write_promises(
    connection: AsyncConnection,
    promises: Sequence[tuple[Promise, str | None]],
    key: SigningKey | None,
) -> None:
    """Insert these promises with the correlation ids of their requests, and enqueue their commands, signed with the
    door's key, in the caller's transaction.
    """
    if not promises:
        return
    commands = [
        Outgoing.of(promise.command, 1, correlation_id=correlation_id).signed(key)
        for promise, correlation_id in promises
    ]
    rows = [
        (
            promise.id,
            promise.kind,
            promise.command.channel,
            promise.payer,
            promise.subject,
            promise.amount_minor,
            promise.currency,
            command.event_id,
        )
        for (promise, _), command in zip(promises, commands, strict=True)
    ]
    await copy(connection, "payment_requests", _COLUMNS, rows)
    await enqueue(connection, commands)
