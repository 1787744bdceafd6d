"""The outbox's tables as a service's metadata has them. Their DDL is in ddl.py."""

from typing import Any

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
from sqlalchemy.types import UserDefinedType

from events import bounds

# In characters; the key of a dead letter is cut to this length.
LONGEST_KEY = 200
# The name of the leading relay: its host and process id.
LONGEST_OWNER = 300

# A relation that a service may use in its SQL: its messages that are still stored, without dead letters.
MESSAGES = "(SELECT created_at, key, sequence, type FROM outbox WHERE raw IS NULL)"


class Xid8(UserDefinedType[str]):
    """A 64-bit transaction id: it never wraps, so it can be stored."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "xid8"


class PgSnapshot(UserDefinedType[str]):
    """The transactions that were visible at one moment, as text `xmin:xmax:in,progress`."""

    cache_ok = True

    def get_col_spec(self, **_: Any) -> str:
        return "pg_snapshot"


# SQLAlchemy does not know these two types; registered here, Alembic can compare the tables with the models.
ischema_names.setdefault("xid8", Xid8)
ischema_names.setdefault("pg_snapshot", PgSnapshot)


def outbox_tables(metadata: MetaData) -> tuple[Table, Table]:
    """Declare `outbox` and `outbox_cursor` on a service's metadata."""
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
    return outbox, _cursor_table(metadata)


def _cursor_table(metadata: MetaData) -> Table:
    return Table(
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
