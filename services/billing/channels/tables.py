"""Channels (wallet apps), their keys, and their idempotency keys with the ids that these stand for."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    LargeBinary,
    String,
    Table,
    UniqueConstraint,
    Uuid,
    func,
)

from chassis.database import View
from events import bounds
from services.billing.database import metadata

LONGEST_NAME = 200
# Of an Idempotency-Key.
LONGEST_KEY = 255

channels = Table(
    "channels",
    metadata,
    Column("id", String(bounds.CHANNEL_ID), primary_key=True),
    Column("name", String(LONGEST_NAME), nullable=False),
    Column("active", Boolean, nullable=False, server_default="true"),
    Column("max_payment_minor", BigInteger, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("id ~ '^[a-z0-9][a-z0-9-]{0,39}$'", name="id_is_a_slug"),
    CheckConstraint("max_payment_minor > 0", name="limit_is_positive"),
)

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("channel_id", ForeignKey("channels.id"), nullable=False),
    Column("prefix", String(16), nullable=False),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of the whole key, which is shown once
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("revoked_at", DateTime(timezone=True)),
    UniqueConstraint("prefix"),
)

signing_keys = Table(
    "signing_keys",
    metadata,
    Column(
        "id", String(8), primary_key=True
    ),  # its secret is derived (signing_keys.py), and not here
    Column("channel_id", ForeignKey("channels.id"), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("revoked_at", DateTime(timezone=True)),
    CheckConstraint("id ~ '^[0-9a-f]{8}$'", name="id_is_hex"),
)

idempotency_keys = Table(
    "idempotency_keys",
    metadata,
    Column("channel_id", String(bounds.CHANNEL_ID), primary_key=True),
    Column("key", String(LONGEST_KEY), primary_key=True),
    Column("request_hash", LargeBinary, nullable=False),
    Column("resource_id", Uuid, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)

# For lookups: the channels that may look up.
OPEN_CHANNELS = View("open_channels", "SELECT id FROM channels WHERE active")
