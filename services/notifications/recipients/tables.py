"""Channels and their tokens, payers' addresses, channels' endpoints.

No personal data crosses Kafka, so e-mail addresses exist only here, set by the channel and deleted when the channel
deletes them.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    LargeBinary,
    String,
    Table,
    Text,
    func,
)

from chassis.database import one_of
from events import bounds
from services.notifications.database import metadata

# Bounds of our own texts; the contract's are in events/bounds.py. HTTP and the command line check them, so that an
# accepted text fits into every later write.
EMAIL_CHARACTERS = 254  # RFC 5321 §4.5.3.1.3, without the angle brackets
URL_CHARACTERS = 2_000
SECRET_CHARACTERS = 200
PREFIX_CHARACTERS = 64

LANGUAGES = ("zh-CN", "en")

channels = Table(
    "channels",
    metadata,
    Column("id", String(bounds.CHANNEL_ID), primary_key=True),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("id ~ '^[a-z0-9][a-z0-9-]{0,39}$'", name="id_is_a_slug"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("prefix", String(PREFIX_CHARACTERS), primary_key=True),
    Column("channel", ForeignKey("channels.id"), nullable=False),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of the whole token, which is shown once
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("revoked_at", DateTime(timezone=True)),
)

recipients = Table(
    "recipients",
    metadata,
    Column("channel", ForeignKey("channels.id"), primary_key=True),
    Column("payer", String(bounds.PAYER), primary_key=True),
    Column("email", String(EMAIL_CHARACTERS), nullable=False),
    Column("language", Text, nullable=False),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("payer ~ '^[A-Za-z0-9_-]{1,64}$'", name="payer_is_opaque"),
    # Printable ASCII only: a line break in an address would begin a header of the attacker's choice.
    CheckConstraint("email ~ '^[!-~]+@[!-~]+$'", name="email_fits_a_header"),
    CheckConstraint(one_of("language", LANGUAGES), name="language_is_spoken"),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("channel", ForeignKey("channels.id"), primary_key=True),
    Column("url", String(URL_CHARACTERS), nullable=False),
    # Stored in clear, because signing needs it; only the sender reads it.
    Column("secret", String(SECRET_CHARACTERS), nullable=False),
    Column("previous_secret", String(SECRET_CHARACTERS)),
    Column("previous_until", DateTime(timezone=True)),
    Column("active", Boolean, nullable=False, server_default="true"),
    Column("updated_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("url ~ '^https?://[!-~]+$'", name="url_is_http"),
    CheckConstraint(
        "(previous_secret IS NULL) = (previous_until IS NULL)", name="previous_until_when"
    ),
)
