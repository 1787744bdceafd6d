"""Top-ups, with their states."""

from enum import StrEnum

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    Column,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    Uuid,
)

from chassis.database import View, one_of
from events import bounds
from services.billing.database import metadata
from services.billing.outside.columns import charging_columns, ending_columns
from services.billing.subject import Kind, LineOrder


class TopUpState(StrEnum):
    """The states of a top-up."""

    ACCEPTED = "accepted"  # the PSP is called next
    SUCCEEDED = "succeeded"  # accepted -> succeeded: the money is in the wallet
    DECLINED = "declined"  # accepted -> declined: the payer's money was not taken


# As SQL.
IS_OPEN = one_of("state", [TopUpState.ACCEPTED])

# A relation that other packages may use in their SQL.
SHOWN = """(
    SELECT id, channel_id, payer, amount_minor, currency, state, reason, action_url, created_at, finished_at
    FROM top_ups)"""

# For history.py (see LineOrder).
_OF_SUBJECT = f"FROM subjects s JOIN top_ups t ON t.id = s.id AND s.kind = '{Kind.TOP_UP}'"
BOOKED = f"SELECT t.transfer_id, s.of {_OF_SUBJECT}"
LINES = f"""
    SELECT t.created_at, {LineOrder.BEGUN}, 'state', 'top-up {TopUpState.ACCEPTED}', t.amount_minor, t.currency
        {_OF_SUBJECT}
    UNION ALL SELECT t.finished_at, {LineOrder.ENDED}, 'state', 'top-up ' || t.state || coalesce(': ' || t.reason, ''),
        t.amount_minor, t.currency {_OF_SUBJECT} WHERE t.finished_at IS NOT NULL
"""

top_ups = Table(
    "top_ups",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("transfer_id", Uuid, nullable=False, unique=True),  # of the transfer that books it
    Column("channel_id", String(bounds.CHANNEL_ID), nullable=False),
    Column("payer", String(bounds.PAYER), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("payment_method", String(bounds.PAYMENT_METHOD), nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    *charging_columns(),
    *ending_columns(),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint(one_of("state", tuple(TopUpState)), name="state_is_declared"),
    Index(None, "created_at", postgresql_using="brin"),
)

# For reconciliation: which top-up a transfer books.
TOP_UP_TRANSFERS = View("top_up_transfers", "SELECT id AS top_up_id, transfer_id FROM top_ups")
