"""The promises of the HTTP door, and the PSP's webhooks that were accepted."""

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    String,
    Table,
    Text,
    Uuid,
    func,
)

from chassis.database import one_of
from events import bounds
from services.billing.database import metadata
from services.billing.subject import Kind, LineOrder

# The state that a wallet is shown for a promise whose command became a dead letter.
NOT_ACCEPTED = "not_accepted"

# For history.py (see LineOrder).
PROMISES = "(SELECT id, kind, subject FROM payment_requests)"
LINES = f"""
    SELECT r.created_at, {LineOrder.PROMISED}, 'state', 'promised over HTTP', r.amount_minor, r.currency
        FROM payment_requests r WHERE r.id = :id AND r.kind = :kind
    UNION ALL SELECT r.failed_at, {LineOrder.ENDED}, 'state', 'promise not kept: ' || r.reason, NULL, NULL
        FROM payment_requests r WHERE r.id = :id AND r.kind = :kind AND r.failed_at IS NOT NULL
"""  # noqa: S608 - our own text

# Promises of the HTTP door: until the worker has decided, the wallet is shown this row.
payment_requests = Table(
    "payment_requests",
    metadata,
    Column("id", Uuid, primary_key=True),  # of the payment, the refund or the top-up
    Column("kind", Text, nullable=False),
    Column("channel_id", String(bounds.CHANNEL_ID), nullable=False),
    Column("payer", String(bounds.PAYER), nullable=False),
    Column("subject", Uuid),  # the bill to pay or the payment to refund
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The ce_id of its command. Unlike the payment's id it is not known to other channels.
    Column("command_id", Uuid),
    # Set when the command became a dead letter, with the reason. A payment accepted later nevertheless takes
    # precedence.
    Column("failed_at", DateTime(timezone=True)),
    Column("reason", String(bounds.REASON)),
    CheckConstraint(one_of("kind", Kind), name="kind_is_declared"),
    CheckConstraint("(failed_at IS NULL) = (reason IS NULL)", name="failed_for_a_reason"),
    Index(None, "channel_id", "created_at", "id"),
    Index(None, "created_at", postgresql_using="brin"),  # of a span, for the auditor
)

psp_webhooks = Table(
    "psp_webhooks",
    metadata,
    Column(
        "event_id", String(bounds.PSP_ID), primary_key=True
    ),  # unique for ever: a replayed webhook changes nothing
    Column("type", String(bounds.PSP_ID), nullable=False),
    Column("object_id", String(bounds.PSP_ID), nullable=False),
    Column("received_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
)
