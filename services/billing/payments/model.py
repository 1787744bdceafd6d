"""A payment under way and its progress, as plain values; the tables are in tables.py."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from errands import NO_ERRAND, Errand, ErrandRun
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
    """A payment with its bill, as the external calls need it. A tuple, because the hot path creates thousands."""

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
    errand: Errand = NO_ERRAND  # the external call that is due
    reason: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None
    former_key: bool = False  # see psp.Charge

    @property
    def subject(self) -> Subject:
        """The payment as external calls and cases refer to it."""
        return Subject(Kind.PAYMENT, self.id)

    @property
    def charge(self) -> Charge:
        """The payment as a charge at the PSP; only for a payment that the PSP funds."""
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
        """The payment as an apply at the biller; the biller's responses are compared with it."""
        bill = self.bill
        return Application(
            self.serial, bill.account_number, bill.bill_number, self.amount_minor, self.currency
        )

    @property
    def by_psp(self) -> bool:
        return self.payment_method is not None

    @property
    def by_call(self) -> bool:
        """True when the biller is called; other billers read our day file."""
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
        """The first external call, as (institution, leg)."""
        return (self.at_psp, "authorize") if self.by_psp else (self.at_biller, "apply")

    @property
    def wallet(self) -> ledger.Account:
        """The payer's wallet, which funds the payment unless the PSP does."""
        return ledger.wallet(self.channel, self.payer, self.currency)

    @property
    def serial(self) -> str:
        """Our number for the one apply at the biller (流水号): the payment's id, so a resumed payment keeps it."""
        return serial_of(self.id)


def serial_of(payment_id: UUID) -> str:
    """Return 32 upper-case hexadecimal digits, a form that all dialects accept."""
    return payment_id.hex.upper()


def payment_method_of(command: PayBill) -> str | None:
    """Return the PSP's token, or None when the wallet pays."""
    return command.funding.payment_method if isinstance(command.funding, PspFunding) else None


def fingerprint_of(command: PayBill) -> bytes:
    """Return a digest of the command; two commands with the same digest ask for the same payment."""
    # Hashed as one text, because the hot path computes thousands.
    return fingerprint(
        f"{command.channel}\n{command.payer}\n{command.bill_id.hex}\n{command.amount_minor}\n{command.currency}\n"
        f"{payment_method_of(command) or ''}"
    )


@dataclass(slots=True)
class Progress:
    """The progress of a payment. The legs fill it in; one transaction records it."""

    payment: Payment
    run: ErrandRun
    state: State
    intent_id: str | None
    action_url: str | None = None
    reason: str | None = None
    authorized_at: datetime | None = None
    applied_at: datetime | None = None
    # The PSP captured the money after the payment was undone here; it has given it back, or refuses to.
    given_back: bool = False
    kept_by_psp: bool = False
    calls: list[Call] = field(default_factory=list)
    # The note of a case: no institution knows the outcome, or one refused a call that must not be refused.
    case: str | None = None

    @property
    def subject(self) -> Subject:
        """The payment as external calls and cases refer to it."""
        return self.payment.subject

    def summary(self) -> str:
        """Return a summary (see cases.Result)."""
        return in_words(self.state, self.reason, self.run, intent=self.intent_id)
