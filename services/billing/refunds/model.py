"""A refund under way and its progress, as plain values; the tables are in tables.py."""

from dataclasses import dataclass, field
from typing import NamedTuple, Protocol
from uuid import UUID

from errands import NO_ERRAND, Errand, ErrandRun
from events.ids import derived_id
from services.billing import institutions, ledger
from services.billing.bills.connectors import Application
from services.billing.outside.model import Call, in_words
from services.billing.refunds.tables import RefundState
from services.billing.subject import Kind, Subject


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund under way, as its external calls need it. `completes`: with it, all of the payment has gone back."""

    id: UUID
    payment_id: UUID
    amount_minor: int
    state: RefundState
    application: Application | None = (
        None  # the apply that marked the bill; set once the refund is read
    )
    currency: str = ""
    intent_id: str | None = None  # empty: the wallet paid
    wallet: ledger.Account | None = None  # empty: the PSP paid
    biller_id: str = ""
    completes: bool = False
    waits: bool = False  # completes, and older refunds of the payment are still under way
    by_file: bool = False
    errand: Errand = NO_ERRAND
    psp_refund_id: str | None = None
    reason: str | None = None
    correlation_id: str | None = None
    reversal: bool = False  # the biller took its mark back by itself
    reserved: bool = True  # whether the amount is set aside on the payment
    to_wallet: bool = False  # the PSP could not give it back, so the payer's wallet gets it
    transfer_id: UUID | None = None  # of the transfer that books it; set once the refund is stored

    @property
    def subject(self) -> Subject:
        """The refund as external calls and cases refer to it."""
        return Subject(Kind.REFUND, self.id)

    @property
    def first_call(self) -> tuple[str, str]:
        """The first external call, as (institution, leg)."""
        if self.state == RefundState.ACCEPTED and self.completes and not self.by_file:
            return institutions.of_biller(self.biller_id), "unapply"
        return self.at_psp, "refund"

    @property
    def at_psp(self) -> str:
        """The institution that gives the money back."""
        return institutions.LEDGER if self.intent_id is None else institutions.PSP


class Outcome(Protocol):
    """The end of a refund: decided at acceptance, by its external calls or by an operator."""

    @property
    def refund(self) -> Refund: ...

    @property
    def state(self) -> RefundState: ...

    @property
    def reason(self) -> str | None: ...


class Decided(NamedTuple):
    """A refund with the state that acceptance decided: accepted, unapplied or failed."""

    refund: Refund
    state: RefundState
    reason: str | None = None


@dataclass(slots=True)
class RefundProgress:
    """The progress of a refund."""

    refund: Refund
    run: ErrandRun
    state: RefundState
    psp_refund_id: str | None = None
    reason: str | None = None
    case: str | None = None
    # The PSP's reason to refuse although the money has to go back; no more calls are made.
    stuck: str | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def subject(self) -> Subject:
        """The refund as external calls and cases refer to it."""
        return self.refund.subject

    def summary(self) -> str:
        """Return a summary (see cases.Result)."""
        return in_words(self.state, self.reason, self.run, refund=self.psp_refund_id)


@dataclass(frozen=True, slots=True)
class Reversal:
    """A biller took its mark back by itself. `reason` is a short code, for example taken_back_by_biller."""

    payment_id: UUID
    reason: str = "taken_back_by_biller"

    @property
    def refund_id(self) -> UUID:
        """The id of its refund, derived from the payment's: a payment has at most one reversal."""
        return derived_id("reversal", self.payment_id)
