"""Statements as their sources sent them, their matches with the ledger, and breaks. No row is ever deleted.

A line's amount is signed from its source's side: a charge increases what the PSP holds for us, a refund, a fee or a
payout reduces it; an apply increases what a biller has applied, an unapply reduces it. A transfer's amount on the
source's account (`psp:…:clearing`, `biller:…:payable`) has the same sign, so both are compared directly.
"""

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Identity,
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
from sqlalchemy.dialects.postgresql import JSONB

from chassis.database import one_of
from events import bounds
from services.billing.database import metadata

SOURCES = ("psp", "biller")
KINDS = (
    "charge",  # the PSP took a payer's money: a pay_bill, a top_up or a late_capture
    "refund",  # the PSP gave it back: a refund or a late_return
    "refund_failure",  # a refund of the PSP failed: a refund_returned
    "fee",  # the PSP kept its fee: books a psp_fee
    "payout",  # the PSP paid out: books a psp_settlement
    "apply",  # the biller marked a bill paid: a pay_bill
    "unapply",  # the biller took its mark back: the refunds that complete a payment
    "other",  # any other line of the source; a person has to look
)
RULES = (
    "reference",  # the same reference, amount and currency
    "netted",  # two lines of one reference that cancel out, for which we booked nothing
)
BREAK_TYPES = (
    "missing_external",  # we booked it, and their statement of that day does not have it
    "missing_internal",  # they have it, and we did not book it
    "amount",  # both have it, with different amounts
    "currency",  # both have it, in different currencies
    "duplicate",  # they have it once more than we do
    "missing_statement",  # the day has no statement, and we booked something
)
BREAK_STATES = (
    "open",
    "resolved",  # open -> resolved: new evidence explains it; resolved -> open: evidence was taken back
)


statements = Table(
    "statements",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", Text, nullable=False),
    Column("source_id", String(bounds.BILLER_ID), nullable=False),  # of the PSP or the biller
    Column("day", Date, nullable=False),  # Asia/Shanghai
    Column("version", Integer, nullable=False),
    Column("content_hash", LargeBinary, nullable=False),
    Column("lines", Integer, nullable=False),
    Column("totals", JSONB, nullable=False),  # {"CNY": minor units}
    Column("imported_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Set when a newer version of the same day was stored: the lines stay, archived, and match nothing any more.
    Column("superseded_at", DateTime(timezone=True)),
    Column("judged_at", DateTime(timezone=True)),  # when its day was first reconciled
    UniqueConstraint("source", "source_id", "day", "version"),
    CheckConstraint(one_of("source", SOURCES), name="source_is_declared"),
    Index(
        "uq_statements_current",
        "source",
        "source_id",
        "day",
        unique=True,
        postgresql_where=text("superseded_at IS NULL"),
    ),
)

statement_lines = Table(
    "statement_lines",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("statement_id", ForeignKey("statements.id"), nullable=False, index=True),
    Column("kind", Text, nullable=False),
    Column(
        "reference", String(bounds.PSP_ID), nullable=False
    ),  # ours if the line names it, else the source's own
    Column("our_id", Uuid),  # of the transfer that books it, now or later
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("raw", JSONB, nullable=False),  # the source's own fields; no personal data
    CheckConstraint(one_of("kind", KINDS), name="kind_is_declared"),
)

# A row consumes a line, a transfer or one of each; rows with the same head are one match (an unapply and its refunds).
matches = Table(
    "matches",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", String(16), nullable=False),
    Column("head", ForeignKey("statement_lines.id"), nullable=False, index=True),
    Column("line_id", ForeignKey("statement_lines.id")),
    Column("transfer_id", ForeignKey("transfers.id")),
    Column("rule", Text, nullable=False),
    Column("matched_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("released_at", DateTime(timezone=True)),  # one of its lines was superseded
    CheckConstraint(one_of("rule", RULES), name="rule_is_declared"),
    CheckConstraint("line_id IS NOT NULL OR transfer_id IS NOT NULL", name="consumes_something"),
    Index(
        "uq_matches_line_once",
        "line_id",
        unique=True,
        postgresql_where=text("released_at IS NULL AND line_id IS NOT NULL"),
    ),
    # Once for the PSP's book and once for the biller's: a payment by PSP stands in both.
    Index(
        "uq_matches_transfer_once",
        "transfer_id",
        "source",
        unique=True,
        postgresql_where=text("released_at IS NULL AND transfer_id IS NOT NULL"),
    ),
    Index("ix_matches_released_line", "line_id", postgresql_where=text("released_at IS NOT NULL")),
)

breaks = Table(
    "breaks",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("source", String(16), nullable=False),
    Column("source_id", String(bounds.BILLER_ID), nullable=False),
    Column("day", Date, nullable=False),
    Column("type", Text, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("reference", String(bounds.PSP_ID), nullable=False),
    Column("ordinal", Integer, nullable=False),  # the first, second … duplicate of one reference
    Column("line_id", ForeignKey("statement_lines.id")),
    Column("transfer_id", ForeignKey("transfers.id")),
    Column("theirs_minor", BigInteger),
    Column("theirs_currency", CHAR(3)),
    Column("ours_minor", BigInteger),
    Column("ours_currency", CHAR(3)),
    Column("state", Text, nullable=False, server_default="open"),
    Column("opened_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("reopened_at", DateTime(timezone=True)),
    Column("closed_at", DateTime(timezone=True)),
    UniqueConstraint("source", "source_id", "kind", "reference", "type", "ordinal"),
    CheckConstraint(one_of("type", BREAK_TYPES), name="type_is_declared"),
    CheckConstraint(one_of("state", BREAK_STATES), name="state_is_declared"),
    CheckConstraint("(state = 'resolved') = (closed_at IS NOT NULL)", name="closed_when_resolved"),
    CheckConstraint(
        "(theirs_minor IS NULL) = (type IN ('missing_external', 'missing_statement'))"
        " AND (ours_minor IS NOT NULL OR type IN ('missing_internal', 'duplicate', 'missing_statement'))",
        name="has_its_sides",
    ),
    Index("ix_breaks_open", "source", "source_id", "day", postgresql_where=text("state = 'open'")),
)
