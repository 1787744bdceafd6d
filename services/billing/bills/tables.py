"""Accounts at billers, their bills in the latest version, and lookups."""

from sqlalchemy import (
    ARRAY,
    CHAR,
    BigInteger,
    CheckConstraint,
    Column,
    Date,
    DateTime,
    ForeignKey,
    Index,
    Integer,
    String,
    Table,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)

from chassis.database import View, one_of
from events import bounds
from services.billing.database import metadata

RULES = ("exact", "at_least", "at_most", "range", "any")
LOOKUP_STATES = (
    "pending",  # an errand stands for it: the biller is called, or will be
    "found",  # pending -> found: the account owes bills
    "nothing_owed",  # pending -> nothing_owed
    "no_such_account",  # pending -> no_such_account
    "failed",  # pending -> failed: the biller could not be reached; look up again later
)

accounts = Table(
    "accounts",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("biller_id", ForeignKey("billers.id"), nullable=False),
    Column("account_number", String(bounds.ACCOUNT_NUMBER), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # The time of the request whose response counts; a late response to an older request changes nothing.
    Column("looked_up_at", DateTime(timezone=True)),
    UniqueConstraint("biller_id", "account_number"),
)

bills = Table(
    "bills",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    # The biller's number; with the account, the bill's identity.
    Column("bill_number", String(bounds.BILL_NUMBER), nullable=False),
    Column("period", String(bounds.PERIOD), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("rule", Text, nullable=False),
    Column("min_minor", BigInteger),
    Column("max_minor", BigInteger),
    Column("multiple_minor", BigInteger),
    Column("due_on", Date),
    Column("expires_at", DateTime(timezone=True), nullable=False),
    Column("closed_at", DateTime(timezone=True)),  # the biller no longer lists it
    Column("looked_up_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    UniqueConstraint("account_id", "bill_number"),
    CheckConstraint("amount_minor >= 0", name="amount_is_not_negative"),
    CheckConstraint(one_of("rule", RULES), name="rule_is_declared"),
    CheckConstraint(
        "rule <> 'range' OR (min_minor IS NOT NULL AND max_minor IS NOT NULL AND min_minor <= max_minor)",
        name="range_has_bounds",
    ),
    CheckConstraint("multiple_minor > 0", name="multiple_is_positive"),
)

lookups = Table(
    "lookups",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("channel_id", String(bounds.CHANNEL_ID), nullable=False),
    Column("account_id", ForeignKey("accounts.id"), nullable=False),
    Column("state", Text, nullable=False),
    Column("reason", String(bounds.REASON)),  # a short code, for a failed lookup
    Column("bill_ids", ARRAY(Uuid)),  # the bills found, in the biller's order
    Column("version", Integer, nullable=False, server_default="0"),
    Column("correlation_id", String(bounds.CORRELATION_ID)),
    # For lookups of the HTTP door: the ce_id of the command that carries it out.
    Column("command_id", Uuid),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("finished_at", DateTime(timezone=True)),
    CheckConstraint(one_of("state", LOOKUP_STATES), name="state_is_declared"),
    CheckConstraint(
        "(state = 'pending') = (finished_at IS NULL)", name="finished_when_not_pending"
    ),
    CheckConstraint("(state = 'found') = (bill_ids IS NOT NULL)", name="bills_when_found"),
    Index("ix_lookups_pending", "created_at", postgresql_where=text("state = 'pending'")),
)

# For receipts, which anyone with the number may read: the last four digits of an account number, or half of a short
# one.
ACCOUNT_ENDINGS = View(
    "account_endings",
    "SELECT id, right(account_number, least(4, length(account_number) / 2)) AS ending FROM accounts",
)
# For the billers' day files: the biller's number of a bill.
BILL_NUMBERS = View("bill_numbers", "SELECT id, bill_number FROM bills")
