"""Deliveries: a row for each event, medium and recipient. It has the payer's name and never the address."""

from sqlalchemy import (
    CheckConstraint,
    Column,
    DateTime,
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
from services.notifications.database import metadata

# Bounds of our own texts, checked where an event enters (plan.py), so that an accepted text fits into every later
# write; the contract's bounds are in events/bounds.py.
EVENT_TYPE_CHARACTERS = 100
# An event's value has at most 900,000 bytes (events.envelope), and the attributes around it less than 3,000.
BODY_BYTES = 1_000_000

MEDIA = ("mail", "webhook")
STATUSES = (
    "pending",  # to be sent, now or at next_attempt_at; failed -> pending when an operator retries it
    "delivered",  # pending -> delivered: the recipient's server accepted it
    "failed",  # pending -> failed: refused for good, or the last attempt failed
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
    # The number of its ends: the sequence of the events about it.
    Column("version", Integer, nullable=False, server_default=text("0")),
    Column("attempts", Integer, nullable=False, server_default=text("0")),
    # Also the lease: a claim sets it into the future.
    Column("next_attempt_at", DateTime(timezone=True), server_default=func.now()),
    Column("lease", Uuid),
    Column("reason", String(bounds.REASON)),  # what went wrong last, a short code
    Column("correlation_id", String(bounds.CORRELATION_ID)),
    Column("traceparent", String(bounds.TRACEPARENT)),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
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
