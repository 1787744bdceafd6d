"""A statement's lines, whoever sent it: the PSP's balance transactions and the billers' day files in one shape."""

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

# What the PSP's book declares (fees, payouts) was booked under ids in this namespace before kinds were told apart.
_FORMERLY_DECLARED = UUID("6f2f3ad1-9c53-5d0e-8a53-4a2f6d7b1c90")
# A transfer on the PSP's account, by its kind, and the line that its statement should have for it.
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
    """Whose book a statement comes from, and the ledger account that stands for it."""

    kind: str  # psp or biller
    id: str

    @property
    def address(self) -> str:
        """The ledger account's."""
        account = ledger.psp_clearing("", self.id) if self.kind == "psp" else None
        return (account or ledger.payable(self.id, "")).address

    def __str__(self) -> str:
        return self.id if self.kind == "biller" else f"psp:{self.id}"


PSP = Source("psp", "stripe")


@dataclass(frozen=True, slots=True)
class Line:
    """One line. `amount_minor` is signed as the source counts it (tables.py).

    `our_id` is the id of the transfer that should book it; `former_id` the id that this transfer has if it was booked
    before transfers of different kinds had ids of their own.
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
    """The last day that is over."""
    return today() - timedelta(days=1)


def of_psp(transactions: Sequence[BalanceTransaction]) -> list[Line]:
    """The PSP's book: a line per movement, and one more for the fee that was kept of it."""
    lines = []
    for each in transactions:
        lines.append(_movement(each))
        if each.fee_minor:
            lines.append(_fee(each))
    return lines


def of_day_file(file_lines: Sequence[DayFileLine]) -> list[Line]:
    """A biller's day file."""
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


def _movement(said: BalanceTransaction) -> Line:
    kind = _KINDS.get(said.reporting_category, "other")
    if kind in {"payout", "fee"}:
        our_id = derived_id("psp_settlement" if kind == "payout" else "psp_fee", said.id)
        former = uuid5(_FORMERLY_DECLARED, f"{said.id}:{kind}")
        return _line(said, kind, said.id, our_id, former)
    subject = said.charge if kind == "charge" else said.refund if kind != "other" else None
    if subject is None:
        return _line(said, kind, said.id)
    formerly_by_id = (kind, subject.kind) in {("charge", Kind.TOP_UP), ("refund", Kind.REFUND)}
    former_id = subject.id if formerly_by_id else None
    return _line(said, kind, str(subject.id), _transfer_id(kind, subject), former_id)


def _transfer_id(kind: str, subject: Subject) -> UUID:
    if kind == "refund_failure":
        return ledger.refund_returned_id(subject)
    if kind == "refund" and subject.kind != Kind.REFUND:
        # Given back by ourselves: the payment or top-up had ended before the PSP took its money.
        return ledger.late_return_id(subject)
    return subject.id if subject.kind == Kind.PAYMENT else derived_id(subject.kind, subject.id)


def _fee(said: BalanceTransaction) -> Line:
    our_id, former = (
        derived_id("psp_fee_kept", said.id),
        uuid5(_FORMERLY_DECLARED, f"{said.id}:kept"),
    )
    return replace(_line(said, "fee", said.id, our_id, former), amount_minor=-said.fee_minor)


def _line(
    said: BalanceTransaction,
    kind: str,
    reference: str,
    our_id: UUID | None = None,
    former_id: UUID | None = None,
) -> Line:
    amount, at = said.amount_minor, said.created
    return Line(kind, reference, our_id, amount, said.currency, at, _raw(said), former_id)


def _raw(said: BalanceTransaction) -> dict[str, str | int | None]:
    return {
        "id": said.id,
        "type": said.type,
        "reporting_category": said.reporting_category,
        "net": said.net_minor,
        "source": said.source_id,
        "payment_intent": said.intent_id,
    }


def _payment_id(serial: str) -> UUID | None:
    # A serial is a payment's id in 32 hexadecimal digits; a line with another one is somebody else's.
    try:
        return UUID(hex=serial) if len(serial) == 32 else None
    except ValueError:
        return None
