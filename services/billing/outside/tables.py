"""External calls, and the cases that only a person can decide."""

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    String,
    Table,
    Text,
    Uuid,
    func,
    text,
)

from chassis.database import one_of
from services.billing.database import metadata
from services.billing.subject import Kind, LineOrder

# In characters; longer texts are cut. The note of a case, and the response of an external call.
LONGEST_NOTE = 1_000
LONGEST_DETAIL = 500
# The length of our own names of legs, outcomes and cases.
LONGEST_WORD = 64

LEGS = (
    "authorize",
    "apply",
    "capture",
    "void",
    "unapply",
    "refund",
    "charge",
    "look",  # retrieve the intent of a payment or top-up that has ended here
    "find",  # find the refund of a payment that has ended here
    "query",  # query the biller about a payment that has ended here
)

# For history.py (see LineOrder).
LINES = f"""
    SELECT c.started_at, {LineOrder.CALLED}, 'call', s.of || c.leg || ' ' || c.outcome || coalesce(': ' || c.detail, '')
        || ' (' || c.duration_ms || ' ms)', NULL, NULL
        FROM subjects s JOIN outside_calls c ON c.subject = s.id AND c.subject_kind = s.kind
    UNION ALL SELECT c.opened_at, {LineOrder.CASE}, 'case', s.of || c.kind || ': ' || c.note, NULL, NULL
        FROM subjects s JOIN cases c ON c.subject = s.id AND c.subject_kind = s.kind
    UNION ALL SELECT c.closed_at, {LineOrder.CASE}, 'case', s.of || c.kind || ': closed'
        || coalesce(': ' || c.closed_because, ''), NULL, NULL
        FROM subjects s JOIN cases c ON c.subject = s.id AND c.subject_kind = s.kind WHERE c.closed_at IS NOT NULL
"""  # noqa: S608 - our own text

outside_calls = Table(
    "outside_calls",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subject", Uuid, nullable=False, index=True),  # the payment, refund or top-up
    Column("subject_kind", Text, nullable=False),
    Column("leg", Text, nullable=False),
    Column("outcome", String(LONGEST_WORD), nullable=False),
    Column("detail", String(LONGEST_DETAIL)),
    Column("started_at", DateTime(timezone=True), nullable=False),
    Column("duration_ms", Integer, nullable=False),
    CheckConstraint(one_of("leg", LEGS), name="leg_is_declared"),
    CheckConstraint(one_of("subject_kind", Kind), name="subject_kind_is_declared"),
)

cases = Table(
    "cases",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("subject", Uuid, nullable=False),
    Column("subject_kind", Text, nullable=False),
    Column("kind", String(LONGEST_WORD), nullable=False),
    Column("note", String(LONGEST_NOTE), nullable=False),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("closed_at", DateTime(timezone=True)),
    Column("closed_because", String(LONGEST_NOTE)),
    # One open case of a kind. When its cause goes on after it was closed, a new one is opened.
    Index(
        "uq_cases_open",
        "subject",
        "subject_kind",
        "kind",
        unique=True,
        postgresql_where=text("closed_at IS NULL"),
    ),
    CheckConstraint(one_of("subject_kind", Kind), name="subject_kind_is_declared"),
)
