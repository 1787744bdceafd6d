"""Who is told (channels, recipients, endpoints), what is to be delivered, and the outbox.

No personal data crosses Kafka, so the only e-mail addresses are here, put by the channel and gone when it takes them
away. A delivery names the payer and never the address.
"""

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from chassis.database import one_of
from events import bounds
from messaging.outbox import outbox_tables
from services.notifications.database import metadata

# The bounds of what only we store, declared here once; those of the contract stand in events/bounds.py. The doors
# (HTTP, the command line, Kafka) check them, so that every later write can hold what they let in.
EVENT_TYPE_CHARACTERS = 100
EMAIL_CHARACTERS = 254  # RFC 5321 §4.5.3.1.3, without the angle brackets
URL_CHARACTERS = 2_000
SECRET_CHARACTERS = 200
PREFIX_CHARACTERS = 64
# An event's value has at most 900,000 bytes (events.envelope), and the attributes around it less than 3,000.
BODY_BYTES = 1_000_000

MEDIA = ("mail", "webhook")
LANGUAGES = ("zh-CN", "en")
STATUSES = (
    "pending",  # to be sent, now or at next_attempt_at; failed -> pending when an operator says so
    "delivered",  # pending -> delivered: the recipient's server took it
    "failed",  # pending -> failed: refused for good, or the last attempt failed
)


def _now() -> Column[object]:
    return Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now())


channels = Table(
    "channels",
    metadata,
    Column("id", String(bounds.CHANNEL_ID), primary_key=True),
    _now(),
    CheckConstraint("id ~ '^[a-z0-9][a-z0-9-]{0,39}$'", name="id_is_a_slug"),
)

tokens = Table(
    "tokens",
    metadata,
    Column("prefix", String(PREFIX_CHARACTERS), primary_key=True),
    Column("channel", ForeignKey("channels.id"), nullable=False),
    Column("hash", LargeBinary, nullable=False),  # SHA-256 of the whole token, which is shown once
    _now(),
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
    # Printable ASCII only: a line break in an address would begin a header of somebody else's choice.
    CheckConstraint("email ~ '^[!-~]+@[!-~]+$'", name="email_fits_a_header"),
    CheckConstraint(one_of("language", LANGUAGES), name="language_is_spoken"),
)

endpoints = Table(
    "endpoints",
    metadata,
    Column("channel", ForeignKey("channels.id"), primary_key=True),
    Column("url", String(URL_CHARACTERS), nullable=False),
    # Kept as it is, because signing needs it; nothing but the sender reads it.
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

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("event_id", Uuid, nullable=False),
    Column("medium", Text, nullable=False),
    Column(
        "recipient", String(bounds.PAYER), nullable=False
    ),  # a mail's payer, a webhook's channel
    Column("channel", String(bounds.CHANNEL_ID), nullable=False),
    Column("payer", String(bounds.PAYER), nullable=False),
    Column("event_type", String(EVENT_TYPE_CHARACTERS), nullable=False),
    Column("body", LargeBinary, nullable=False),  # the event, CloudEvents in structured mode
    Column("status", Text, nullable=False, server_default="pending"),
    # How often it has ended: the sequence of what we publish about it.
    Column("version", Integer, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # Also the lease: whoever claims a delivery puts it into the future.
    Column("next_attempt_at", DateTime(timezone=True), server_default=func.now()),
    Column("lease", Uuid),
    Column("reason", String(bounds.REASON)),  # what went wrong last, a short code
    Column("correlation_id", String(bounds.CORRELATION_ID)),
    Column("traceparent", String(bounds.TRACEPARENT)),
    _now(),
    Column("ended_at", DateTime(timezone=True)),
    UniqueConstraint("event_id", "medium", "recipient"),
    CheckConstraint(one_of("medium", MEDIA), name="medium_is_declared"),
    CheckConstraint(one_of("status", STATUSES), name="status_is_declared"),
    CheckConstraint(f"octet_length(body) <= {BODY_BYTES}", name="body_fits"),
    CheckConstraint(
        "(status = 'pending') = (next_attempt_at IS NOT NULL)", name="due_while_pending"
    ),
    CheckConstraint("(status = 'pending') = (ended_at IS NULL)", name="ended_unless_pending"),
    CheckConstraint("lease IS NULL OR status = 'pending'", name="leased_while_pending"),
    CheckConstraint("status <> 'failed' OR reason IS NOT NULL", name="failed_with_a_reason"),
    Index(
        "ix_deliveries_due",
        "medium",
        "channel",
        "next_attempt_at",
        postgresql_where=text("status = 'pending'"),
    ),
    Index(None, "channel", "payer", "id"),
    Index("ix_deliveries_failed", "channel", "id", postgresql_where=text("status = 'failed'")),
)

outbox, outbox_cursor = outbox_tables(metadata)
