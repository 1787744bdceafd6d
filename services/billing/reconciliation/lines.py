"""The lines of statements: the PSP's balance transactions and the billers' day files in one shape."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from uuid import UUID, uuid5

from chassis.china import today
from events.ids import derived_id
from services.billing import ledger
from services.billing.bills.connectors import DayFileLine
from services.billing.psp import BalanceTransaction
from services.billing.subject import Kind, Subject

# Older fees and payouts were booked under ids in this namespace.
_FORMERLY_DECLARED = UUID("6f2f3ad1-9c53-5d0e-8a53-4a2f6d7b1c90")
# By the kind of a transfer on the PSP's account: the kind of line that the PSP's statement should have for it.
LINE_KINDS = {
    "pay_bill": "charge",
    "top_up": "charge",
    "late_capture": "charge",
    "refund": "refund",
    "reversal": "refund",
    "late_return": "refund",
    "refund_returned": "refund_failure",
    "psp_fee": "fee",
    "psp_settlement": "payout",
}
# Stripe's reporting categories; `type` alone would mix refunds with partial captures (docs.stripe.com/reports).
_KINDS = {
    "charge": "charge",
    "refund": "refund",
    "refund_failure": "refund_failure",
    "payout": "payout",
    "fee": "fee",
}


@dataclass(frozen=True, slots=True)
class Source:
    """The sender of a statement, with the ledger account that stands for it."""

    kind: str  # psp or biller
    id: str

    @property
    def address(self) -> str:
        """The address of the ledger account."""
        account = ledger.psp_clearing("", self.id) if self.kind == "psp" else None
        return (account or ledger.payable(self.id, "")).address

    def __str__(self) -> str:
        return self.id if self.kind == "biller" else f"psp:{self.id}"


PSP = Source("psp", "stripe")


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `amount_minor` is signed from the source's side (tables.py).

    `our_id` is the id of the transfer that should book it; `former_id` is the id of an older transfer that books it.
    """

    kind: str
    reference: str
    our_id: UUID | None
    amount_minor: int
    currency: str
    occurred_at: datetime
    raw: Mapping[str, str | int | None]
    former_id: UUID | None = None


def yesterday() -> date:
    """Return the last day that is over."""
    return today() - timedelta(days=1)


def of_psp(transactions: Sequence[BalanceTransaction]) -> list[Line]:
    """Return the lines of the PSP's statement: one per movement, and one more for the fee that was kept of it."""
    lines = []
    for each in transactions:
        lines.append(_movement(each))
        if each.fee_minor:
            lines.append(_fee(each))
    return lines


def of_day_file(file_lines: Sequence[DayFileLine]) -> list[Line]:
    """Return the lines of a biller's day file."""
    return [
        Line(
            each.kind,
            each.serial,
            _payment_id(each.serial),
            each.amount_minor if each.kind == "apply" else -each.amount_minor,
            each.currency,
            each.occurred_at,
            {"bill_number": each.bill_number},
        )
        for each in file_lines
    ]


def _movement(transaction: BalanceTransaction) -> Line:
    kind = _KINDS.get(transaction.reporting_category, "other")
    if kind in {"payout", "fee"}:
        our_id = derived_id("psp_settlement" if kind == "payout" else "psp_fee", transaction.id)
        former = uuid5(_FORMERLY_DECLARED, f"{transaction.id}:{kind}")
        return _line(transaction, kind, transaction.id, our_id, former)
    subject = (
        transaction.charge if kind == "charge" else transaction.refund if kind != "other" else None
    )
    if subject is None:
        return _line(transaction, kind, transaction.id)
    formerly_by_id = (kind, subject.kind) in {("charge", Kind.TOP_UP), ("refund", Kind.REFUND)}
    former_id = subject.id if formerly_by_id else None
    return _line(transaction, kind, str(subject.id), _transfer_id(kind, subject), former_id)


def _transfer_id(kind: str, subject: Subject) -> UUID:
    if kind == "refund_failure":
        return ledger.refund_returned_id(subject)
    if kind == "refund" and subject.kind != Kind.REFUND:
        # Given back by us, because the payment or top-up had ended before the PSP took the money.
        return ledger.late_return_id(subject)
    return subject.id if subject.kind == Kind.PAYMENT else derived_id(subject.kind, subject.id)


def _fee(transaction: BalanceTransaction) -> Line:
    our_id, former = (
        derived_id("psp_fee_kept", transaction.id),
        uuid5(_FORMERLY_DECLARED, f"{transaction.id}:kept"),
    )
    return replace(
        _line(transaction, "fee", transaction.id, our_id, former),
        amount_minor=-transaction.fee_minor,
    )


def _line(
    transaction: BalanceTransaction,
    kind: str,
    reference: str,
    our_id: UUID | None = None,
    former_id: UUID | None = None,
) -> Line:
    amount, at = transaction.amount_minor, transaction.created
    return Line(
        kind, reference, our_id, amount, transaction.currency, at, _raw(transaction), former_id
    )


def _raw(transaction: BalanceTransaction) -> dict[str, str | int | None]:
    return {
        "id": transaction.id,
        "type": transaction.type,
        "reporting_category": transaction.reporting_category,
        "net": transaction.net_minor,
        "source": transaction.source_id,
        "payment_intent": transaction.intent_id,
    }


def _payment_id(serial: str) -> UUID | None:
    # A serial is a payment's id in 32 hexadecimal digits; a line with another serial is not about us.
    try:
        return UUID(hex=serial) if len(serial) == 32 else None
    except ValueError:
        return None
