"""Receipts: the proof of a succeeded payment. Rows are added once; only voiding changes them, and only those columns.

`number` is the only index that finds a receipt. It is derived from the payment's id and the day (number.py), so a
payment finds its receipt without another index, and the numbers of one day are neighbours.
"""

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
)

from chassis.database import one_of
from events import bounds
from services.billing.database import metadata
from services.billing.subject import Kind, LineOrder

VOID_REASONS = (
    "refunded",  # the whole amount went back, in one refund or several
    "reversed",  # the biller took its mark back
)

# For history.py (see LineOrder).
LINES = f"""
    SELECT c.issued_at, {LineOrder.RECEIPT}, 'receipt', c.number, c.amount_minor, c.currency
        FROM receipts c WHERE c.payment_id = :id AND :kind = '{Kind.PAYMENT}'
    UNION ALL SELECT c.voided_at, {LineOrder.RECEIPT}, 'receipt', 'void: ' || c.void_reason, NULL, NULL
        FROM receipts c WHERE c.payment_id = :id AND :kind = '{Kind.PAYMENT}' AND c.voided_at IS NOT NULL
"""  # noqa: S608 - our own text

receipts = Table(
    "receipts",
    metadata,
    # Collation C: numbers are ASCII, and comparing bytes is several times as fast as a language's collation.
    Column("number", Text(collation="C"), primary_key=True),
    # No foreign key: the row is written in the transaction in which the payment succeeds, and checking a row that was
    # just locked would cost more than the insert itself.
    Column("payment_id", Uuid, nullable=False),
    Column("biller_id", String(bounds.BILLER_ID), nullable=False),
    Column("account_id", Uuid, nullable=False),
    Column("bill_number", String(bounds.BILL_NUMBER), nullable=False),
    Column("period", String(bounds.PERIOD), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("issued_at", DateTime(timezone=True), nullable=False),
    Column("voided_at", DateTime(timezone=True)),
    Column("void_reason", Text),
    CheckConstraint("length(number) = 24", name="number_has_24_characters"),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint("(voided_at IS NULL) = (void_reason IS NULL)", name="voided_with_a_reason"),
    CheckConstraint(
        one_of("void_reason", VOID_REASONS),
        name="void_reason_is_declared",
    ),
    Index(None, "issued_at", postgresql_using="brin"),  # of a span, for the auditor
)
