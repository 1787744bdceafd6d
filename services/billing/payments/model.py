"""A payment under way, and what its outside calls brought. Plain values; the tables are in tables.py."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from events.message import Event
from events.payments import PayBill, PspFunding
from services.billing import ledger
from services.billing.bills import Bill
from services.billing.payments.tables import State

CommandT = TypeVar("CommandT", bound=Event)


class Instruction(NamedTuple, Generic[CommandT]):
    """A command as it reached us, by whichever door."""

    command: CommandT
    correlation_id: str | None = None
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class Call:
    """One call to somebody outside, for the history of the payment."""

    leg: str
    outcome: str
    detail: str | None
    started_at: datetime
    duration_ms: int


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
    unknown_leg: str | None = None
    attempts: int = 0  # how often it was taken up again: 0 while the worker that accepted it has it
    reason: str | None = None
    correlation_id: str | None = None
    traceparent: str | None = None

    @property
    def by_psp(self) -> bool:
        return self.payment_method is not None

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


@dataclass(slots=True)
class Progress:
    """How far a payment came. The legs fill it in; one transaction records it."""

    payment: Payment
    state: State
    intent_id: str | None
    action_url: str | None = None
    unknown_leg: str | None = None
    reason: str | None = None
    authorized_at: datetime | None = None
    applied_at: datetime | None = None
    calls: list[Call] = field(default_factory=list)
    # A note for finance ops: nobody outside can say, or somebody said no where none may.
    case: str | None = None

    @classmethod
    def of(cls, payment: Payment) -> "Progress":
        return cls(payment, payment.state, payment.intent_id, reason=payment.reason)

    def wait(self, leg: str, reason: str | None = None) -> "Progress":
        """The answer to this call never came, or is not there yet."""
        self.unknown_leg = leg
        self.reason = reason or self.reason
        return self
