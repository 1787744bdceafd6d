"""Promises that are not kept yet, for the worker: their command is still to be handled or has become a dead letter.

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
_SEQUENCE_WHEN_ENQUEUED_AGAIN = 2

_FIND = text(f"""
    SELECT id, channel_id, failed_at IS NOT NULL AS failed FROM payment_requests
    WHERE id = ANY(CAST(:ids AS uuid[])) AND kind = '{Kind.PAYMENT}'
""")  # noqa: S608 - our own word
# The latest dead letter has the reason. The command's own id must match: knowing the id of a promise is not enough to
# end it.
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


class _FailedPromise(NamedTuple):
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
            may_arrive = await _payments_that_may_arrive(connection, refunds)
            for message in refunds:
                payment_may_arrive = may_arrive.get(_payment_key(message))
                if payment_may_arrive is None:
                    rejected.append(Rejected(message, "payment_unknown", _UNKNOWN))
                elif not payment_may_arrive or _was_enqueued_again(message):
                    rejected.append(Rejected(message, "payment_not_accepted", _NOT_ACCEPTED))
                else:
                    again.append(self._enqueued_again(message))
            await enqueue(connection, again)
        return rejected

    async def fail(self, connection: AsyncConnection, dead: Sequence[Dead]) -> None:
        """End the promises of these commands as failed, in the transaction that writes their dead letters."""
        failures = [failure for letter in dead for failure in _failed_promises(letter)]
        if failures:
            columns = zip(*failures, strict=True)
            await connection.execute(
                _FAIL, dict(zip(("ids", "commands", "reasons"), map(list, columns), strict=True))
            )

    def _enqueued_again(self, message: Message) -> Outgoing:
        outgoing = Outgoing.of(
            message.event,
            _SEQUENCE_WHEN_ENQUEUED_AGAIN,
            message.correlation_id,
            message.traceparent,
        )
        return outgoing._replace(event_id=message.id).signed(self._key)


async def give_up(connection: AsyncConnection, id: UUID) -> str | None:
    """End a promise whose command is lost; return its kind, or None when no promise with this id is open.

    If the command arrives nevertheless, it is carried out, and its result takes precedence over the promise.
    """
    kind: str | None = (await connection.execute(_GIVE_UP, {"id": id})).scalar_one_or_none()
    return kind


_UNKNOWN = "this channel has no payment with this payment_id; the refund was not accepted"
_NOT_ACCEPTED = (
    "the payment was promised, but its command has not been accepted: find the dead letters with its key, replay the"
    " payment's first and then this one; the refund was not accepted"
)


async def _payments_that_may_arrive(
    connection: AsyncConnection, refunds: Sequence[Message]
) -> dict[tuple[UUID, str], bool]:
    # The promised payments of these refunds, by id and channel; False when the promise has failed.
    ids = {_payment_key(each)[0] for each in refunds}
    rows = await connection.execute(_FIND, {"ids": list(ids)})
    return {(row.id, row.channel_id): not row.failed for row in rows}


def _payment_key(message: Message) -> tuple[UUID, str]:
    assert isinstance(message.event, RefundPayment)
    return message.event.payment_id, message.event.channel


def _was_enqueued_again(message: Message) -> bool:
    # This header needs no signature: a forged one only has the forger's own refund rejected.
    return message.headers.get("ce_sequence") == b"%d" % _SEQUENCE_WHEN_ENQUEUED_AGAIN


def _failed_promises(dead: Dead) -> list[_FailedPromise]:
    command_id = dead.message_id
    if command_id is None:
        return []
    # The key of a command is the id of the payment or top-up; a refund's id is in its value.
    ids = (dead.key_id, _refund_in(dead.record.value))
    return [_FailedPromise(id, command_id, dead.public_reason) for id in ids if id]


def _refund_in(value: bytes | None) -> UUID | None:
    try:
        command = json.loads(value or b"")
        return uuid_in(command["refund_id"].encode())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
