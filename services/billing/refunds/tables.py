"""Refunds, with their states and the transitions between them."""

from enum import StrEnum

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    String,
    Table,
    Text,
    Uuid,
)

from chassis.database import View, one_of
from events import bounds
from services.billing.database import metadata
from services.billing.outside.columns import ending_columns
from services.billing.payments import tables as payments
from services.billing.subject import Kind, LineOrder


class RefundState(StrEnum):
    """The states of a refund."""

    ACCEPTED = (
        "accepted"  # the amount is reserved on the payment; the biller or the PSP is called next
    )
    UNAPPLIED = "unapplied"  # accepted -> unapplied: the biller took its mark back; the money goes back next
    SUCCEEDED = "succeeded"  # accepted | unapplied -> succeeded
    FAILED = "failed"  # accepted -> failed: refused, and the reservation is gone


OPEN = (RefundState.ACCEPTED, RefundState.UNAPPLIED)
ENDED = (RefundState.SUCCEEDED, RefundState.FAILED)
# As SQL.
IS_OPEN = one_of("state", OPEN)

# A relation that other packages may use in their SQL. The channel and the currency are the payment's.
SHOWN = f"""(
    SELECT f.id, p.channel_id, f.payment_id, f.amount_minor, p.currency, f.state, f.reason, f.created_at, f.finished_at
    FROM refunds f JOIN {payments.SHOWN} p ON p.id = f.payment_id)"""  # noqa: S608 - our own text

# For history.py (see LineOrder).
_OF_SUBJECT = f"FROM subjects s JOIN refunds f ON f.id = s.id AND s.kind = '{Kind.REFUND}'"
_PRICED = f"{_OF_SUBJECT} JOIN {payments.SHOWN} p ON p.id = f.payment_id"
BOOKED = f"SELECT f.transfer_id, s.of {_OF_SUBJECT}"
LINES = f"""
    SELECT f.created_at, {LineOrder.BEGUN}, 'state', s.of || CASE WHEN f.reversal THEN 'reversal of what is left'
        ELSE 'requested' END, f.amount_minor, p.currency {_PRICED}
    UNION ALL SELECT f.finished_at, {LineOrder.ENDED}, 'state', s.of || f.state || coalesce(': ' || f.reason, ''),
        f.amount_minor, p.currency {_PRICED} WHERE f.finished_at IS NOT NULL
"""

refunds = Table(
    "refunds",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("transfer_id", Uuid, nullable=False, unique=True),  # of the transfer that books it
    Column("payment_id", Uuid, ForeignKey("payments.id"), nullable=False, index=True),
    Column("amount_minor", BigInteger, nullable=False),
    Column("request_hash", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("psp_refund_id", String(bounds.PSP_ID)),
    # Which attempt the PSP refused: the errand has ended with a case, and its last key is used up.
    Column("attempt", Integer, nullable=False, server_default="1"),
    # The biller took its mark back by itself, so all that is left goes back and the payment ends as reversed.
    Column("reversal", Boolean, nullable=False, server_default="false"),
    *ending_columns(),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint(one_of("state", tuple(RefundState)), name="state_is_declared"),
    Index(None, "created_at", postgresql_using="brin"),
)

# For reconciliation: which refund a transfer books.
REFUND_TRANSFERS = View("refund_transfers", "SELECT id AS refund_id, transfer_id FROM refunds")
