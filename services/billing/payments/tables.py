"""Payments, with their states and the transitions between them.

A payment's state says what has happened to its money; its errand says which external call comes next (errands/). A
trigger with the same TRANSITIONS refuses every other change of state.
"""

from enum import StrEnum

from sqlalchemy import (
    CHAR,
    BigInteger,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    LargeBinary,
    String,
    Table,
    Text,
    Uuid,
    text,
)

from chassis.database import View, one_of
from events import bounds
from services.billing.database import metadata
from services.billing.outside.columns import charging_columns, ending_columns
from services.billing.subject import Kind, LineOrder


class State(StrEnum):
    """The states of a payment. Only the changes in TRANSITIONS are possible."""

    ACCEPTED = "accepted"  # the checks have passed; the PSP is called next
    AUTHORIZED = "authorized"  # accepted -> authorized: the payer's money is held (at the PSP or in the wallet)
    APPLIED = "applied"  # authorized -> applied: the biller has marked the bill paid
    SUCCEEDED = "succeeded"  # applied -> succeeded: the money is taken, the receipt issued
    PARTIALLY_REFUNDED = "partially_refunded"  # succeeded -> partially_refunded
    REFUNDED = "refunded"  # succeeded | partially_refunded -> refunded: all of it went back
    REVERSED = "reversed"  # succeeded | partially_refunded -> reversed: undone by the biller
    VOIDED = "voided"  # authorized | applied -> voided: the biller refused, the hold is released
    REJECTED = "rejected"  # refused at once because of the bill, the amount or a limit
    DECLINED = "declined"  # accepted -> declined: the payer's money was refused


# A step may be skipped when several calls are recorded at once: a payment can go from accepted straight to succeeded.
TRANSITIONS: dict[State, tuple[State, ...]] = {
    State.ACCEPTED: (
        State.AUTHORIZED,
        State.APPLIED,
        State.SUCCEEDED,
        State.VOIDED,
        State.DECLINED,
    ),
    State.AUTHORIZED: (State.APPLIED, State.SUCCEEDED, State.VOIDED),
    State.APPLIED: (State.SUCCEEDED, State.VOIDED),
    State.SUCCEEDED: (State.PARTIALLY_REFUNDED, State.REFUNDED, State.REVERSED),
    State.PARTIALLY_REFUNDED: (State.REFUNDED, State.REVERSED),
}
OPEN = (State.ACCEPTED, State.AUTHORIZED, State.APPLIED)
# Its bill is paid, and not all of the money went back.
PAID = (State.SUCCEEDED, State.PARTIALLY_REFUNDED)
# While a payment is in one of these, its bill cannot be paid by another one.
HOLDS_BILL = (*OPEN, *PAID)
# All of the money went back.
GIVEN_BACK = (State.REFUNDED, State.REVERSED)
# The payer's money was taken; some or all of it may have gone back since.
CAPTURED = (*PAID, *GIVEN_BACK)
# The payment has ended, and its money was never taken or has been released.
WITHOUT_MONEY = (State.VOIDED, State.REJECTED, State.DECLINED)

# As SQL, in the same words as the partial index, so that the planner uses it.
IS_OPEN = one_of("state", OPEN)
HOLDS_ITS_BILL = one_of("state", HOLDS_BILL)
IS_PAID = one_of("state", PAID)

# Relations that other packages may use in their SQL; PostgreSQL inlines them like views.
SHOWN = """(
    SELECT id, channel_id, payer, bill_id, amount_minor, currency, state, reason, action_url, refunded_minor,
        captured_minor - refunded_minor - refund_pending_minor AS left_minor, created_at, finished_at
    FROM payments)"""

# For history.py (see LineOrder). A payment's transfer has its id.
BOOKED = f"SELECT s.id, s.of FROM subjects s WHERE s.kind = '{Kind.PAYMENT}'"  # noqa: S608 - our own text
_OF_SUBJECT = f"FROM subjects s JOIN payments p ON p.id = s.id AND s.kind = '{Kind.PAYMENT}'"
LINES = f"""
    SELECT p.created_at, {LineOrder.BEGUN}, 'state', CASE p.funding WHEN 'psp' THEN 'taken in, funded by the PSP'
        ELSE 'taken in, funded by the wallet' END, p.amount_minor, p.currency {_OF_SUBJECT}
    UNION ALL SELECT p.authorized_at, {LineOrder.BEGUN}, 'state', 'authorized', NULL, NULL {_OF_SUBJECT}
        WHERE p.authorized_at IS NOT NULL
    UNION ALL SELECT p.applied_at, {LineOrder.BEGUN}, 'state', 'applied', NULL, NULL {_OF_SUBJECT}
        WHERE p.applied_at IS NOT NULL
    UNION ALL SELECT p.finished_at, {LineOrder.ENDED}, 'state', CASE WHEN p.captured_minor > 0 THEN '{State.SUCCEEDED}'
        ELSE p.state END || coalesce(': ' || p.reason, ''), p.captured_minor, p.currency {_OF_SUBJECT}
        WHERE p.finished_at IS NOT NULL
"""

payments = Table(
    "payments",
    metadata,
    Column("id", Uuid, primary_key=True),
    Column("channel_id", String(bounds.CHANNEL_ID), nullable=False),
    Column("payer", String(bounds.PAYER), nullable=False),
    Column("bill_id", Uuid, nullable=False),
    Column("biller_id", String(bounds.BILLER_ID)),  # empty only when the bill is unknown
    Column("account_id", Uuid),
    Column("amount_minor", BigInteger, nullable=False),
    Column("currency", CHAR(3), nullable=False),
    Column("funding", Text, nullable=False),
    Column("payment_method", String(bounds.PAYMENT_METHOD)),
    # A command with the same id and other content is an error.
    Column("request_hash", LargeBinary, nullable=False),
    Column("state", Text, nullable=False),
    Column("captured_minor", BigInteger, nullable=False, server_default="0"),
    Column("refund_pending_minor", BigInteger, nullable=False, server_default="0"),
    Column("refunded_minor", BigInteger, nullable=False, server_default="0"),
    Column("authorized_at", DateTime(timezone=True)),
    Column("applied_at", DateTime(timezone=True)),
    *charging_columns(),
    *ending_columns(),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint(one_of("state", tuple(State)), name="state_is_declared"),
    CheckConstraint("funding IN ('wallet', 'psp')", name="funding_is_declared"),
    CheckConstraint(
        "refund_pending_minor >= 0 AND refunded_minor >= 0"
        " AND refunded_minor + refund_pending_minor <= captured_minor",
        name="refunds_within_capture",
    ),
    CheckConstraint(
        f"({one_of('state', CAPTURED)}) = (captured_minor > 0)", name="captured_when_succeeded"
    ),
    CheckConstraint(f"({IS_OPEN}) = (finished_at IS NULL)", name="finished_once"),
    # At most one live payment per bill.
    Index("uq_payments_live_bill", "bill_id", unique=True, postgresql_where=text(HOLDS_ITS_BILL)),
    # GET /v1/payments, newest first: of a channel, and of one of its payers.
    Index(None, "channel_id", "created_at", "id"),
    Index(None, "channel_id", "payer", "created_at", "id"),
    Index(None, "created_at", postgresql_using="brin"),  # of a span, for the auditor
)

# For bills: those that a live payment holds, and whether it has paid them. By the condition of uq_payments_live_bill.
LIVE_BILLS = View(
    "live_bills",
    f"SELECT bill_id, {IS_PAID} AS paid FROM payments WHERE {HOLDS_ITS_BILL}",  # noqa: S608 - our own states
)
# For receipts, whose numbers are derived from the time at which their payment finished, and for the billers' day files.
FINISHED_PAYMENTS = View(
    "finished_payments",
    "SELECT id, channel_id, bill_id, finished_at, refunded_minor FROM payments WHERE finished_at IS NOT NULL",
)
