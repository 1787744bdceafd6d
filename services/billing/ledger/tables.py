"""The ledger's tables: accounts with their balances, transfers that are only ever added, holds, and seals.

A balance is credits minus debits: positive when we owe (a wallet, a biller), negative when others owe us (the PSP, the
bank). All balances of a currency sum to zero.
"""

from sqlalchemy import (
    CHAR,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
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

from chassis.database import View, one_of
from services.billing.database import metadata
from services.billing.subject import Kind, LineOrder

KINDS = (
    "top_up",
    "pay_bill",
    "refund",
    "reversal",
    "psp_fee",
    "psp_settlement",
    "remittance",
    "adjustment",
    "late_capture",
    "late_return",
    "refund_returned",
    "refund_to_wallet",
    "returned_to_wallet",
)
# These kinds reduce what a biller is owed; each names the payment that it corrects.
TAKES_BACK = ("refund", "reversal", "refund_to_wallet")
# These kinds correct a transfer of the same payment, refund or top-up.
RETURNS = ("late_return", "refund_returned", "returned_to_wallet")
HOLD_STATES = (
    "pending",  # the money is set aside
    "posted",  # pending -> posted: the transfer of the same id moved it
    "voided",  # pending -> voided: it was released
)

# For history.py (see LineOrder). A transfer that reverses a correction has no subject of its own.
CORRECTIONS = f"""
    SELECT t.id, b.of FROM booked b JOIN transfers t ON t.corrects = b.id AND {one_of("t.kind", RETURNS)}
"""  # noqa: S608 - our own kinds
LINES = f"""
    SELECT h.created_at, {LineOrder.HELD}, 'hold', 'set aside in the wallet', h.amount_minor, a.currency
        FROM subjects s JOIN holds h ON h.id = s.id AND s.kind = '{Kind.PAYMENT}'
        JOIN ledger_accounts a ON a.id = h.account
    UNION ALL SELECT h.ended_at, {LineOrder.HELD}, 'hold', h.state, h.amount_minor, a.currency
        FROM subjects s JOIN holds h ON h.id = s.id AND s.kind = '{Kind.PAYMENT}'
        JOIN ledger_accounts a ON a.id = h.account WHERE h.ended_at IS NOT NULL
    UNION ALL SELECT t.created_at, {LineOrder.BOOKED}, 'transfer', b.of || t.kind || ' '
        || regexp_replace(d.address, '^wallet:.*', 'wallet') || ' > '
        || regexp_replace(c.address, '^wallet:.*', 'wallet'), t.amount_minor, t.currency
        FROM booked b JOIN transfers t ON t.id = b.id JOIN ledger_accounts d ON d.id = t.debit_account
        JOIN ledger_accounts c ON c.id = t.credit_account
"""  # noqa: S608 - our own text

# The longest address is a wallet's: its channel, its payer and the separators.
LONGEST_ADDRESS = 128

ledger_accounts = Table(
    "ledger_accounts",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    Column("address", String(LONGEST_ADDRESS), nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("no_overdraft", Boolean, nullable=False),
    Column("balance_minor", BigInteger, nullable=False, server_default="0"),
    Column("held_minor", BigInteger, nullable=False, server_default="0"),
    UniqueConstraint("address", "currency"),
    CheckConstraint("held_minor >= 0", name="held_is_not_negative"),
    CheckConstraint("NOT no_overdraft OR balance_minor >= held_minor", name="no_overdraft"),
)

transfers = Table(
    "transfers",
    metadata,
    # A payment's id, or an id derived from its subject (movements.py): the primary key refuses to book twice.
    Column("id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),
    # No foreign keys: `post` updates both accounts in the same transaction and fails when one is missing (decision 7).
    Column("debit_account", BigInteger, nullable=False),
    Column("credit_account", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("corrects", Uuid, ForeignKey("transfers.id")),
    Column("occurred_at", DateTime(timezone=True), nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint("debit_account <> credit_account", name="two_accounts"),
    CheckConstraint(one_of("kind", KINDS), name="kind_is_declared"),
    Index(None, "debit_account", "id"),
    Index(None, "credit_account", "id"),
    # Every payment pays for an index, so these are cheap: few transfers correct another, and BRIN has one entry per
    # range of blocks.
    Index(None, "corrects", postgresql_where=text("corrects IS NOT NULL")),
    Index(None, "occurred_at", postgresql_using="brin", postgresql_with={"pages_per_range": "32"}),
    Index(None, "created_at", postgresql_using="brin"),
)

holds = Table(
    "holds",
    metadata,
    Column("id", Uuid, primary_key=True),  # the id of the transfer that may post it
    Column("account", ForeignKey("ledger_accounts.id"), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("ended_at", DateTime(timezone=True)),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint(one_of("state", HOLD_STATES), name="state_is_declared"),
    CheckConstraint("(state = 'pending') = (ended_at IS NULL)", name="ended_when_not_pending"),
    Index(None, "created_at", postgresql_using="brin"),
    Index("ix_holds_pending", "account", postgresql_where=text("state = 'pending'")),
)

# Spans of time that are over, without gaps (seals.py). `digest` covers the span's transfers and the digest before;
# `judged_at` and `faults` are the time and the result of the last audit.
seals = Table(
    "seals",
    metadata,
    Column("since", DateTime(timezone=True), primary_key=True),
    Column("until", DateTime(timezone=True), nullable=False),
    Column("transfers", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("sealed_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    Column("judged_at", DateTime(timezone=True)),
    Column("faults", Integer, nullable=False, server_default="0"),
    CheckConstraint("until > since", name="span_is_not_empty"),
    CheckConstraint("octet_length(digest) = 32", name="digest_has_32_bytes"),
)

# The sums of the transfers of all sealed spans, for the accounts of each bucket together (seals.py).
sealed_sums = Table(
    "sealed_sums",
    metadata,
    Column("bucket", Integer, primary_key=True, autoincrement=False),
    Column("balance_minor", BigInteger, nullable=False),
)

# For reconciliation: all transfers. Accounts are ids; accounts_at() finds those of an address.
BOOKED_TRANSFERS = View(
    "booked_transfers",
    "SELECT id, kind, debit_account, credit_account, amount_minor, currency, corrects, occurred_at FROM transfers",
)
# For reconciliation: the billers' accounts. Join by id, because listing them reads every account.
BILLER_ACCOUNTS = View(
    "biller_accounts",
    "SELECT id, split_part(address, ':', 2) AS biller_id FROM ledger_accounts WHERE address LIKE 'biller:%'",
)
