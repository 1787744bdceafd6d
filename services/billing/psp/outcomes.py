"""The outcomes of calls to the PSP. Each is a type; `Unknown` is one of them and never a failure.

Unknown means that the money may or may not have moved. Repeat the same call (it carries the same key) within 23
hours, or until the PSP has replayed its stored response (`Unknown.over`); afterwards use only `retrieve`, `find` and
`find_refund`. A charge or refund that these prove absent may be requested with the next `attempt`, under a key of its
own.
"""

from dataclasses import dataclass
from datetime import datetime

from services.billing.subject import Subject


@dataclass(frozen=True, slots=True)
class Charge:
    """A charge to a payer. `subject` is the payment or top-up, which identifies the charge at the PSP.

    `former_key`: the PSP may know the charge under an older key without the kind. `attempt` counts from 1 and chooses
    the key: a later attempt is a new call to the PSP, allowed only when the earlier one can have no effect any more.
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
    """The payer has to confirm at `url` first; empty when the PSP names no page that can be shown."""

    intent_id: str
    url: str | None


@dataclass(frozen=True, slots=True)
class Captured:
    """The payer's money is taken: exactly the requested amount."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class Voided:
    """The hold is released; nothing was taken, and nothing can be taken."""

    intent_id: str


@dataclass(frozen=True, slots=True)
class Declined:
    """The payer's money was refused. `code` is the PSP's stable code, for example insufficient_funds."""

    intent_id: str | None
    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Refunded:
    """The money is on its way back to the payer. It can still fail later: `refund.failed` by webhook."""

    psp_refund_id: str


@dataclass(frozen=True, slots=True)
class RefundPending:
    """The PSP has accepted the refund and will decide later."""

    psp_refund_id: str


@dataclass(frozen=True, slots=True)
class Refused:
    """The PSP refused; nothing moved. The same call would be refused again."""

    code: str
    text: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """There was no response, or one that cannot be trusted. `why` is for people and logs and starts with a stable word.

    `over`: the PSP has replayed its stored response. The call under this key is over, and so are its effects.
    """

    why: str
    over: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """A charge in its present state at the PSP. `outcome` is the meaning of its status for the payment."""

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
        """Return the outcome if the intent is the charge of this subject over this amount, captured whole or not at
        all; else Unknown.
        """
        if self.subject != subject:
            return Unknown(f"not_ours: {self.id} does not name our charge")
        taken = self.captured_minor if isinstance(self.outcome, Captured) else amount_minor
        if (self.amount_minor, self.currency, taken) != (amount_minor, currency, amount_minor):
            return Unknown(f"wrong_amount: {self.id} is over another amount or currency")
        return self.outcome


@dataclass(frozen=True, slots=True)
class BalanceTransaction:
    """One balance transaction of the PSP. Amounts are signed: money that reaches us is positive.

    `net_minor = amount_minor - fee_minor`. `source_id` and `intent_id` are the PSP's ids. `charge` and `refund` are the
    subjects of our charge or refund, read from the metadata that we sent.
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
