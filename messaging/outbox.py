"""The outbox: events written in the transaction that they tell of, published to Kafka afterwards by the relay.

Precondition of per-key order: the writer holds the aggregate's row (it inserted or updated it) before it enqueues, so
that a key's ids are drawn in the order in which its transactions commit. Without it the relay cannot put the events in
order, whatever it does.
"""

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple
from uuid import UUID

from asyncpg.pgproto import pgproto
from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import UserDefinedType

from chassis.database import copy
from events import bounds
from events.ids import uuid7_bytes
from events.message import Event
from events.signature import SigningKey
from events.topics import Topic

# In characters; the key of a dead letter is cut to this.
LONGEST_KEY = 200
# Of the relay that leads: its host's name and process id.
LONGEST_OWNER = 300
TYPE_PREFIX = "meterhall."  # every ce_type starts with it, so the outbox does not store it


class Outgoing(NamedTuple):
    """One message for Kafka, encoded. A tuple, because the hot path makes thousands and turns them into columns.

    The fields are columns of the outbox. `raw` is only for dead letters: it carries the key and the headers as they
    were (see dead_letters.py). `signature` is only for commands (see events/signature.py).
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
        """The message that tells of `event`; `sequence` is the aggregate's version, from 1 without gaps."""
        model = type(event)
        return cls(
            new_id(),
            model.topic,
            event.key,
            sequence,
            stored_type(model),
            # What model_dump_json() calls, without the detour through str: a third of the time.
            model.__pydantic_serializer__.to_json(event),
            traceparent,
            correlation_id,
        )

    def signed(self, key: SigningKey | None) -> "Outgoing":
        """The command with its signature; as it is when there is no key, because its topic is trusted."""
        if key is None:
            return self
        assert self.payload is not None
        ce_type = TYPE_PREFIX + self.type
        signature = key.sign(self.topic.name, self.key, str(self.event_id), ce_type, self.payload)
        return self._replace(signature=signature)


def new_id() -> UUID:
    """An id for a message: a UUIDv7. asyncpg's own UUID is made, hashed and written in a tenth of the time."""
    made: UUID = pgproto.UUID(uuid7_bytes())
    return made


async def enqueue(connection: AsyncConnection, messages: Sequence[Outgoing]) -> None:
    """Write the messages in the caller's transaction: one statement, whatever their number.

    They get their ids in the order given, so a key's messages must stand in the order of their sequence. A message
    that Kafka could refuse for its size violates ck_outbox_size here, where nothing has happened yet.
    """
    await copy(
        connection,
        "outbox",
        Outgoing._fields,
        [(message[0], message[1].code, *message[2:]) for message in messages],
    )


@cache
def stored_type(model: type[Event]) -> str:
    """How the outbox names this kind of message."""
    return model.ce_type().removeprefix(TYPE_PREFIX)


class Xid8(UserDefinedType[str]):
    """A 64-bit transaction id: it never wraps, so it can be stored."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


class PgSnapshot(UserDefinedType[str]):
    """Which transactions were visible at one moment, as text `xmin:xmax:in,progress`."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pg_snapshot"


# SQLAlchemy does not know these two; told here, Alembic can compare the tables with the models.
ischema_names.setdefault("xid8", Xid8)
ischema_names.setdefault("pg_snapshot", PgSnapshot)


def outbox_tables(metadata: MetaData) -> tuple[Table, Table]:
    """Declare `outbox` and `outbox_cursor` on a service's metadata. The DDL itself is in ddl.py."""
    outbox = Table(
        "outbox",
        metadata,
        Column("id", BigInteger, primary_key=True, server_default=text("nextval('outbox_id_seq')")),
        Column("xid", Xid8, nullable=False, server_default=text("pg_current_xact_id()")),
        Column(
            "created_at",
            DateTime(timezone=True),
            primary_key=True,
            server_default=text("now()"),
        ),
        Column("event_id", Uuid, nullable=False),
        Column("sequence", Integer, nullable=False),
        Column("topic", SmallInteger, nullable=False),
        Column("key", String(LONGEST_KEY), nullable=False),
        Column("type", String(100), nullable=False),
        Column("payload", LargeBinary),
        Column("traceparent", String(bounds.TRACEPARENT)),
        Column("correlation_id", String(bounds.CORRELATION_ID)),
        Column("raw", LargeBinary),
        Column("signature", String(200)),
        CheckConstraint("octet_length(payload) <= 900000", name="size"),
        Index(None, "xid", "id"),
        postgresql_partition_by="RANGE (created_at)",
    )
    cursor = Table(
        "outbox_cursor",
        metadata,
        Column("shard", SmallInteger, primary_key=True),
        Column("prev", PgSnapshot, nullable=False),
        Column("cur", PgSnapshot),
        Column("last_id", BigInteger, nullable=False, server_default=text("0")),
        Column("high_id", BigInteger, nullable=False, server_default=text("0")),
        Column("epoch", BigInteger, nullable=False, server_default=text("0")),
        Column("cluster", BigInteger),
        Column("owner", String(LONGEST_OWNER)),
        Column("updated_at", DateTime(timezone=True)),
    )
    return outbox, cursor
