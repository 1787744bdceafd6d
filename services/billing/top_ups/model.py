"""A top-up under way and its progress, as plain values; the table is in tables.py."""

from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from errands import NO_ERRAND, Errand, ErrandRun
from services.billing import ledger
from services.billing.outside.model import Call, in_words
from services.billing.psp import Charge
from services.billing.subject import Kind, Subject
from services.billing.top_ups.tables import TopUpState


@dataclass(frozen=True, slots=True)
class TopUp:
    """A top-up under way. `transfer_id` is the id of the transfer that will book it."""

    id: UUID
    transfer_id: UUID
    channel: str
    payer: str
    amount_minor: int
    currency: str
    payment_method: str
    intent_id: str | None
    action_url: str | None
    created_at: datetime
    reason: str | None
    correlation_id: str | None
    former_key: bool = False  # see psp.Charge
    errand: Errand = NO_ERRAND

    @property
    def subject(self) -> Subject:
        """The top-up as external calls and cases refer to it."""
        return Subject(Kind.TOP_UP, self.id)

    @property
    def charge(self) -> Charge:
        """The top-up as a charge at the PSP."""
        return Charge(
            self.subject,
            self.amount_minor,
            self.currency,
            self.payment_method,
            self.former_key,
            self.errand.attempt,
        )

    @property
    def wallet(self) -> ledger.Account:
        """The payer's wallet, which gets the money."""
        return ledger.wallet(self.channel, self.payer, self.currency)


@dataclass(slots=True)
class TopUpProgress:
    """The progress of a top-up."""

    top_up: TopUp
    run: ErrandRun
    state: TopUpState
    intent_id: str | None
    action_url: str | None = None
    reason: str | None = None
    case: str | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def subject(self) -> Subject:
        """The top-up as external calls and cases refer to it."""
        return self.top_up.subject

    def summary(self) -> str:
        """Return a summary (see cases.Result)."""
        return in_words(self.state, self.reason, self.run, intent=self.intent_id)
