"""A payment under way, and what its outside calls brought. Plain values; the tables are in tables.py."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from errands import NO_ERRAND, Errand, Turn
from events.payments import PayBill, PspFunding
from services.billing import institutions, ledger
from services.billing.bills import Bill
from services.billing.bills.connectors import Application
from services.billing.instruction import fingerprint
from services.billing.outside.model import Call, in_words
from services.billing.payments.tables import State
from services.billing.psp import Charge
from services.billing.subject import Kind, Subject


class Payment(NamedTuple):
    """A payment with the bill it pays: what the outside calls need. A tuple: the hot path makes thousands."""

    id: UUID
    channel: str
    payer: str
    bill: Bill
    amount_minor: int
    currency: str
    payment_method: str | None  # empty: funded from the wallet
    state: State
    created_at: datetime
    intent_id: str | None = None
    action_url: str | None = None
    errand: Errand = NO_ERRAND  # of what is still to be asked outside
    reason: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    former_key: bool = False  # see psp.Charge

    @property
    def subject(self) -> Subject:
        """The payment, as calls and cases name it."""
        return Subject(Kind.PAYMENT, self.id)

    @property
    def charge(self) -> Charge:
        """The payment as the PSP is asked for it; only for a payment that the PSP funds."""
        assert self.payment_method is not None
        return Charge(
            self.subject,
            self.amount_minor,
            self.currency,
            self.payment_method,
            self.former_key,
            self.errand.attempt,
        )

    @property
    def application(self) -> Application:
        """The payment as the biller is asked to mark it, and as its answers are compared with it."""
        bill = self.bill
        return Application(
            self.serial, bill.account_number, bill.bill_number, self.amount_minor, self.currency
        )

    @property
    def by_psp(self) -> bool:
        return self.payment_method is not None

    @property
    def by_call(self) -> bool:
        """Whether the biller is called; others read our day file."""
        return self.bill.settled_by == "call"

    @property
    def at_psp(self) -> str:
        """The institution that holds, takes and gives back the payer's money."""
        return institutions.PSP if self.by_psp else institutions.LEDGER

    @property
    def at_biller(self) -> str:
        """The institution that marks the bill."""
        return institutions.of_biller(self.bill.biller_id) if self.by_call else institutions.LEDGER

    @property
    def first_call(self) -> tuple[str, str]:
        """Who is asked first, and for what, as (institution, leg)."""
        return (self.at_psp, "authorize") if self.by_psp else (self.at_biller, "apply")

    @property
    def wallet(self) -> ledger.Account:
        """The payer's wallet, from which the payment is funded when it is not by the PSP."""
        return ledger.wallet(self.channel, self.payer, self.currency)

    @property
    def serial(self) -> str:
        """Our number for the one apply at the biller (流水号): the payment's id, so a resumed payment says the same."""
        return serial_of(self.id)


def serial_of(payment_id: UUID) -> str:
    """32 hexadecimal digits, upper case: dialects differ in what else they accept."""
    return payment_id.hex.upper()


def payment_method_of(command: PayBill) -> str | None:
    """The PSP's token, or nothing when the wallet pays."""
    return command.funding.payment_method if isinstance(command.funding, PspFunding) else None


def fingerprint_of(command: PayBill) -> bytes:
    """What makes two commands to pay the same."""
    # One text at once: the hot path makes thousands.
    return fingerprint(
        f"{command.channel}\n{command.payer}\n{command.bill_id.hex}\n{command.amount_minor}\n{command.currency}\n"
        f"{payment_method_of(command) or ''}"
    )


@dataclass(slots=True)
class Progress:
    """How far a payment came. The legs fill it in; one transaction records it."""

    payment: Payment
    turn: Turn
    state: State
    intent_id: str | None
    action_url: str | None = None
    reason: str | None = None
    authorized_at: datetime | None = None
    applied_at: datetime | None = None
    # The PSP had taken the money after we gave up, and gave it back, or will not.
    given_back: bool = False
    kept_by_psp: bool = False
    calls: list[Call] = field(default_factory=list)
    # A note for finance ops: nobody outside can say, or somebody said no where none may.
    case: str | None = None

    @property
    def subject(self) -> Subject:
        """The payment, as calls and cases name it."""
        return self.payment.subject

    def learnt(self) -> str:
        """See cases.Result."""
        return in_words(self.state, self.reason, self.turn, intent=self.intent_id)
