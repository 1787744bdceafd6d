"""Messages on their way to Kafka: encoded, and written into the outbox in the transaction that they describe.

Precondition of per-key order: the writer holds the aggregate's row (it inserted or updated it) before it enqueues, so
that a key's ids are drawn in the order in which its transactions commit. The relay cannot restore the order without it.
"""

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple
from uuid import UUID

from asyncpg.pgproto import pgproto
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import copy
from events.ids import uuid7_bytes
from events.message import Event
from events.signature import SigningKey
from events.topics import Topic

TYPE_PREFIX = "meterhall."  # every ce_type starts with it, so the outbox does not store it


class Outgoing(NamedTuple):
    """One message for Kafka, encoded. A tuple, because the hot path makes thousands and turns them into columns.

    The fields are columns of the outbox. `raw` is only for dead letters: the record's original key and headers (see
    raw.py). `signature` is only for commands (see events/signature.py).
    """

    event_id: UUID
    topic: Topic
    key: str
    sequence: int
    type: str
    payload: bytes | None
    traceparent: str | None = None
    correlation_id: str | None = None
    raw: bytes | None = None
    signature: str | None = None

    @classmethod
    def of(
        cls,
        event: Event,
        sequence: int,
        correlation_id: str | None = None,
        traceparent: str | None = None,
    ) -> "Outgoing":
        """Return the message of `event`; `sequence` is the aggregate's version, from 1 without gaps."""
        model = type(event)
        return cls(
            new_id(),
            model.topic,
            event.key,
            sequence,
            stored_type(model),
            # model_dump_json() calls the same, with a detour through str that takes three times as long.
            model.__pydantic_serializer__.to_json(event),
            traceparent,
            correlation_id,
        )

    def signed(self, key: SigningKey | None) -> "Outgoing":
        """Return the command with its signature; unchanged without a key, because its topic is trusted then."""
        if key is None:
            return self
        assert self.payload is not None
        ce_type = TYPE_PREFIX + self.type
        signature = key.sign(self.topic.name, self.key, str(self.event_id), ce_type, self.payload)
        return self._replace(signature=signature)


async def enqueue(connection: AsyncConnection, messages: Sequence[Outgoing]) -> None:
    """Write the messages in the caller's transaction: one statement, whatever their number.

    They get their ids in the given order, so a key's messages must be in the order of their sequence. A message that
    Kafka could refuse for its size violates ck_outbox_size here, in the transaction that would cause it.
    """
    await copy(
        connection,
        "outbox",
        Outgoing._fields,
        [(message[0], message[1].code, *message[2:]) for message in messages],
    )


def new_id() -> UUID:
    """Return an id for a message: a UUIDv7, as asyncpg's UUID, which is created and written in a tenth of the time."""
    id: UUID = pgproto.UUID(uuid7_bytes())
    return id


@cache
def stored_type(model: type[Event]) -> str:
    """Return the name of this kind of message in the outbox."""
    return model.ce_type().removeprefix(TYPE_PREFIX)
