"""Promises: what the HTTP door answers 202 to. A row and the command that is to keep it, written in one transaction.

Until the worker has accepted the command, the row in payment_requests is what its wallet is shown.
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

# What the worker has made of commands, as relations for SQL.
ACCEPTED: Mapping[Kind, str] = {
    Kind.PAYMENT: payments.SHOWN,
    Kind.REFUND: refunds.SHOWN,
    Kind.TOP_UP: top_ups.SHOWN,
}
# Whether a promise `r` is kept: by something of its channel, for another one may have used the id.
KEPT: Mapping[Kind, str] = {
    kind: f"EXISTS (SELECT FROM {accepted} a WHERE a.id = r.id AND a.channel_id = r.channel_id)"
    for kind, accepted in ACCEPTED.items()
}
# The promises that nothing has kept, as relations for SQL. They count as accepted, until their command has died.
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
    """A command, and what the wallet is shown until the worker has accepted it. `subject`: the bill, or the payment."""

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
    """Write these promises, each with the correlation id of its request, and enqueue their commands, signed with the
    door's key, in the caller's transaction."""
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
