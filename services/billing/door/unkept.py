"""Promises that are not kept yet, for the worker: their command is under way, or has become a dead letter.

A promise's command is in the outbox or in Kafka. A refund that arrives before its payment's command is enqueued again,
behind it. A promise whose command becomes a dead letter ends as failed, in the transaction of the dead letter.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.payments import RefundPayment
from events.signature import SigningKey
from messaging.consumer import Dead, Message, Rejected, uuid_in
from messaging.outbox import Outgoing, enqueue
from services.billing.door.promise import KEPT
from services.billing.subject import Kind

# The ce_sequence of a command counts how often it was enqueued. The door writes 1, and channels usually, too.
_WRITTEN_AGAIN = 2

_FIND = text(f"""
    SELECT id, channel_id, failed_at IS NOT NULL AS failed FROM payment_requests
    WHERE id = ANY(CAST(:ids AS uuid[])) AND kind = '{Kind.PAYMENT}'
""")  # noqa: S608 - our own word
# The latest dead letter has the reason. The command's own id must match, so that somebody who only knows a promise's id
# cannot end it.
_FAIL = text("""
    UPDATE payment_requests r SET failed_at = coalesce(r.failed_at, now()), reason = d.reason
    FROM unnest(CAST(:ids AS uuid[]), CAST(:commands AS uuid[]), CAST(:reasons AS text[])) AS d (id, command_id, reason)
    WHERE r.id = d.id AND r.command_id = d.command_id
""")
_IS_KEPT = " ".join(f"WHEN '{kind}' THEN {kept}" for kind, kept in KEPT.items())
_GIVE_UP = text(f"""
    UPDATE payment_requests r SET failed_at = now(), reason = 'command_lost'
    WHERE id = :id AND failed_at IS NULL AND NOT CASE kind {_IS_KEPT} END
    RETURNING kind
""")  # noqa: S608 - our own text


class _Death(NamedTuple):
    id: UUID
    command_id: UUID
    reason: str


class Promises:
    """The promises of one worker's commands. `key` signs as the HTTP door does."""

    def __init__(self, engine: AsyncEngine, key: SigningKey | None) -> None:
        self._engine = engine
        self._key = key

    async def bring_behind(self, refunds: Sequence[Message]) -> list[Rejected]:
        """Enqueue refunds of payments that are promised and not accepted yet again; return the other refunds.

        The payment's command has an earlier id in the outbox and the same key, so the relay publishes it first. A
        refund that was enqueued behind it and still finds no payment will never find one, so this is done once;
        otherwise a refund would circulate for ever when the payment's command is lost.
        """
        if not refunds:
            return []
        rejected: list[Rejected] = []
        again: list[Outgoing] = []
        async with self._engine.begin() as connection:
            open_ones = await _find(connection, refunds)
            for message in refunds:
                promised_open = open_ones.get(_payment(message))
                if promised_open is None:
                    rejected.append(Rejected(message, "payment_unknown", _UNKNOWN))
                elif not promised_open or _was_written_again(message):
                    rejected.append(Rejected(message, "payment_not_accepted", _NOT_ACCEPTED))
                else:
                    again.append(self._written_again(message))
            await enqueue(connection, again)
        return rejected

    async def fail(self, connection: AsyncConnection, dead: Sequence[Dead]) -> None:
        """End the promises of these commands as failed, in the transaction that writes their dead letters."""
        deaths = [death for each in dead for death in _deaths(each)]
        if deaths:
            columns = zip(*deaths, strict=True)
            await connection.execute(
                _FAIL, dict(zip(("ids", "commands", "reasons"), map(list, columns), strict=True))
            )

    def _written_again(self, message: Message) -> Outgoing:
        outgoing = Outgoing.of(
            message.event, _WRITTEN_AGAIN, message.correlation_id, message.traceparent
        )
        return outgoing._replace(event_id=message.id).signed(self._key)


async def give_up(connection: AsyncConnection, id: UUID) -> str | None:
    """End a promise whose command is lost; return its kind, or None when no promise with this id is open.

    If the command arrives nevertheless, it is carried out, and its result takes precedence over the promise.
    """
    kind: str | None = (await connection.execute(_GIVE_UP, {"id": id})).scalar_one_or_none()
    return kind


_UNKNOWN = "this channel has no payment with this payment_id; the refund was not kept"
_NOT_ACCEPTED = (
    "the payment was promised and its command has not become a payment: see the dead letters with its key, replay the"
    " payment's first and then this one; the refund was not kept"
)


async def _find(
    connection: AsyncConnection, refunds: Sequence[Message]
) -> dict[tuple[UUID, str], bool]:
    # For the promised payments that these refunds name, by id and channel: True when the command may still arrive.
    ids = {_payment(each)[0] for each in refunds}
    rows = await connection.execute(_FIND, {"ids": list(ids)})
    return {(row.id, row.channel_id): not row.failed for row in rows}


def _payment(message: Message) -> tuple[UUID, str]:
    assert isinstance(message.event, RefundPayment)
    return message.event.payment_id, message.event.channel


def _was_written_again(message: Message) -> bool:
    # This header is not signed and need not be: a forged one has the forger's own refund refused.
    return message.headers.get("ce_sequence") == b"%d" % _WRITTEN_AGAIN


def _deaths(dead: Dead) -> list[_Death]:
    command_id = dead.message_id
    if command_id is None:
        return []
    # The key of a command is the id of the payment or top-up; a refund's id is in its value.
    ids = (dead.key_id, _refund_in(dead.record.value))
    return [_Death(id, command_id, dead.public_reason) for id in ids if id]


def _refund_in(value: bytes | None) -> UUID | None:
    try:
        command = json.loads(value or b"")
        return uuid_in(command["refund_id"].encode())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
