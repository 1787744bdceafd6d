"""What can come of a call to the PSP. Each outcome is a type; `Unknown` is an answer of its own and never a failure.

Unknown means: the money may or may not have moved. Ask again with the same call (it carries the same key) within
23 hours, or until the PSP has replayed its kept answer (`Unknown.over`); afterwards only with `retrieve`, `find` and
`find_refund`. What these prove absent may be asked for with the next `attempt`, under a key of its own.
"""

from dataclasses import dataclass
from datetime import datetime

from services.billing.subject import Subject


@dataclass(frozen=True, slots=True)
class Charge:
    """What a payer is to be charged. `subject` is the payment or top-up, and names the charge at the PSP.

    `former_key`: the PSP may know the charge under the key that had no kind in it, because it was asked for before keys
    named the kind. `attempt` counts from 1 and decides which key the call carries: a later attempt is a new call to the
    PSP, so it may be made only when nothing can come of the one before.
    """

    subject: Subject
    amount_minor: int
    currency: str
    payment_method: str
    former_key: bool = False
    attempt: int = 1


@dataclass(frozen=True, slots=True)
class Authorized:
    """The payer's money is held."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class ActionRequired:
    """The payer has to approve at `url` first; empty when the PSP names no page that a payer could be shown."""

    intent_id: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Captured:
    """The payer's money is taken: exactly the amount that was asked for."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class Voided:
    """The hold is released; nothing was taken and nothing can be."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The payer's money was refused. `code` is the PSP's (for example insufficient_funds), stable."""

    intent_id: str | None
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money is on its way back to the payer. It can still fail later: `refund.failed` by webhook."""

    psp_refund_id: str


@dataclass(frozen=True, slots=True)
class RefundPending:
    """The PSP took the refund and will decide later."""

    psp_refund_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The PSP understood and will not do it; nothing moved. The same call would be refused again."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """No answer that could be trusted. `why` is for people and logs, it starts with a short stable word.

    `over`: the PSP has replayed its kept answer. The call under this key is over, and whatever it did is done.
    """

    why: str
    over: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """A charge as the PSP keeps it now. `outcome` says what its status means for the payment."""

    id: str
    status: str
    amount_minor: int
    capturable_minor: int
    captured_minor: int
    currency: str
    subject: Subject | None
    outcome: Authorized | ActionRequired | Captured | Voided | Declined | Unknown

    def outcome_for(
        self, subject: Subject, amount_minor: int, currency: str
    ) -> Authorized | ActionRequired | Captured | Voided | Declined | Unknown:
        """The outcome, if the intent is the charge of that subject, over that amount, and taken whole if at all."""
        if self.subject != subject:
            return Unknown(f"not_ours: {self.id} does not name our charge")
        taken = self.captured_minor if isinstance(self.outcome, Captured) else amount_minor
        if (self.amount_minor, self.currency, taken) != (amount_minor, currency, amount_minor):
            return Unknown(f"wrong_amount: {self.id} is over another amount or currency")
        return self.outcome


@dataclass(frozen=True, slots=True)
class BalanceTransaction:
    """One line of the PSP's book of our money. Amounts are signed: what reaches us is positive.

    `net_minor = amount_minor - fee_minor`. `source_id` and `intent_id` are the PSP's ids. `charge` and `refund` are the
    subjects that we charged or gave back for, read from the metadata that we sent.
    """

    id: str
    type: str
    reporting_category: str
    amount_minor: int
    fee_minor: int
    net_minor: int
    currency: str
    created: datetime
    source_id: str | None
    intent_id: str | None
    refund: Subject | None
    charge: Subject | None
