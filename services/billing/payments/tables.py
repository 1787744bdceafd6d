"""Payments, refunds, top-ups, what was asked outside, and cases for finance ops; with the states and their transitions.

A payment's state says which promises hold; its errand says whom to ask next (errands/). A trigger made from TRANSITIONS
refuses every other change of state, whoever tries.
"""

from enum import StrEnum

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
    Uuid,
    func,
    text,
)

from chassis.database import one_of
from events import bounds
from services.billing.database import metadata
from services.billing.subject import Kind


class State(StrEnum):
    """Where a payment stands. Only the changes in TRANSITIONS exist."""

    ACCEPTED = "accepted"  # the checks have passed; the PSP is asked next
    AUTHORIZED = "authorized"  # accepted -> authorized: the payer's money is held (at the PSP or in the wallet)
    APPLIED = "applied"  # authorized -> applied: the biller has marked the bill paid
    SUCCEEDED = "succeeded"  # applied -> succeeded: the money is taken, the receipt issued
    PARTIALLY_REFUNDED = "partially_refunded"  # succeeded -> partially_refunded
    REFUNDED = "refunded"  # succeeded | partially_refunded -> refunded: all of it went back
    REVERSED = (
        "reversed"  # succeeded | partially_refunded -> reversed: the biller took its mark back
    )
    VOIDED = "voided"  # authorized | applied -> voided: the biller refused, the hold is let go
    REJECTED = "rejected"  # never got further: the bill, the amount or a limit said no
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
# While a payment is in one of these, its bill can't be paid by another one.
HOLDS_BILL = (*OPEN, State.SUCCEEDED, State.PARTIALLY_REFUNDED)
# It has ended, and nobody has the payer's money.
WITHOUT_MONEY = (State.VOIDED, State.REJECTED, State.DECLINED)

# In characters; what is longer is cut. A case's note, and what an outside call was answered.
LONGEST_NOTE = 1_000
LONGEST_DETAIL = 500
# Names that we give ourselves: of legs, outcomes and cases.
LONGEST_WORD = 64

LEGS = (
    "authorize",
    "apply",
    "capture",
    "void",
    "unapply",
    "refund",
    "charge",
    "look",  # at an intent of something that has ended here
    "find",  # a refund of something that has ended here
    "query",  # the biller, about a payment that has ended here
)
REFUND_STATES = (
    "accepted",  # the amount is reserved on the payment; the biller or the PSP is asked next
    "unapplied",  # accepted -> unapplied: the biller took its mark back; the money goes back next
    "succeeded",  # accepted | unapplied -> succeeded
    "failed",  # accepted -> failed: refused, and the reservation is gone
)
TOP_UP_STATES = ("accepted", "succeeded", "declined")


# As SQL, in the words of the partial index, so that the planner sees that it serves.
IS_OPEN = one_of("state", OPEN)
HOLDS_ITS_BILL = one_of("state", HOLDS_BILL)


def _ending() -> list[Column[object]]:
    # What everything has that begins with a command and ends; in between an errand stands for it (errands/).
    return [
        Column("reason", String(bounds.REASON)),
        Column("correlation_id", String(bounds.CORRELATION_ID)),
        Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
        Column("finished_at", DateTime(timezone=True)),
    ]


def _charging() -> list[Column[object]]:
    # What an aggregate needs that is charged at the PSP and tells of itself.
    return [
        Column("version", Integer, nullable=False),  # counts its events
        Column("psp_intent_id", String(bounds.PSP_ID)),
        # True for what was open when the PSP's keys began to name the kind: the PSP may know it by the former key.
        Column("former_psp_key", Boolean),
        # Where the payer confirms, while that is needed.
        Column("action_url", String(bounds.ACTION_URL)),
    ]


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
    Column(
        "request_hash", LargeBinary, nullable=False
    ),  # the same id with other content is an error
    Column("state", Text, nullable=False),
    Column("captured_minor", BigInteger, nullable=False, server_default="0"),
    Column("refund_pending_minor", BigInteger, nullable=False, server_default="0"),
    Column("refunded_minor", BigInteger, nullable=False, server_default="0"),
    Column("authorized_at", DateTime(timezone=True)),
    Column("applied_at", DateTime(timezone=True)),
    *_charging(),
    *_ending(),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint(one_of("state", tuple(State)), name="state_is_declared"),
    CheckConstraint("funding IN ('wallet', 'psp')", name="funding_is_declared"),
    CheckConstraint(
        "refund_pending_minor >= 0 AND refunded_minor >= 0"
        " AND refunded_minor + refund_pending_minor <= captured_minor",
        name="refunds_within_capture",
    ),
    CheckConstraint(
        "(state IN ('succeeded', 'partially_refunded', 'refunded', 'reversed')) = (captured_minor > 0)",
        name="captured_when_succeeded",
    ),
    CheckConstraint(f"({IS_OPEN}) = (finished_at IS NULL)", name="finished_once"),
    # At most one live payment per bill.
    Index(
        "uq_payments_live_bill",
        "bill_id",
        unique=True,
        postgresql_where=text(HOLDS_ITS_BILL),
    ),
    # GET /v1/payments, newest first: of a channel, and of one of its payers.
    Index(None, "channel_id", "created_at", "id"),
    Index(None, "channel_id", "payer", "created_at", "id"),
    Index(None, "created_at", postgresql_using="brin"),  # of a span, for the auditor
)

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
    *_ending(),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint(one_of("state", REFUND_STATES), name="state_is_declared"),
    Index(None, "created_at", postgresql_using="brin"),
)

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
    *_charging(),
    *_ending(),
    CheckConstraint("amount_minor > 0", name="amount_is_positive"),
    CheckConstraint(one_of("state", TOP_UP_STATES), name="state_is_declared"),
    Index(None, "created_at", postgresql_using="brin"),
)

# What the HTTP door has promised: until the worker has looked, this row is the payment that the wallet asks for.
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
    # The ce_id of the command that is to keep it: who knows the payment's id does not know this one.
    Column("command_id", Uuid),
    # Set when the command became a dead letter, with the reason; what is accepted all the same counts more.
    Column("failed_at", DateTime(timezone=True)),
    Column("reason", String(bounds.REASON)),
    CheckConstraint("kind IN ('payment', 'refund', 'top_up')", name="kind_is_declared"),
    CheckConstraint("(failed_at IS NULL) = (reason IS NULL)", name="failed_for_a_reason"),
    Index(None, "channel_id", "created_at", "id"),
    Index(None, "created_at", postgresql_using="brin"),  # of a span, for the auditor
)

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
    # One open case of a kind; when what it tells of goes on after it was closed, the next one is opened.
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
