"""The shapes of the PSP's responses, and their meaning. Only the fields in use are read; other shapes are Unknown.

Texts that are stored are bounded here, where they enter: a code becomes a short word, a text for people is cut. So
the part of a response about money never fails because of a text beside it.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, Any, Generic, Literal, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from events import bounds
from events.money import LARGEST_MINOR
from services.billing.psp.outcomes import (
    ActionRequired,
    Authorized,
    BalanceTransaction,
    Captured,
    Declined,
    Intent,
    Refunded,
    RefundPending,
    Refused,
    Unknown,
    Voided,
)
from services.billing.subject import Kind, Subject

# The longest text for people.
LONGEST_TEXT = 300


def _as_code(text: str) -> str:
    # The PSP's codes are words of letters, digits and _; any other text is converted into such a word.
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text[: bounds.REASON])


Code = Annotated[str, AfterValidator(_as_code)]
Words = Annotated[str, AfterValidator(partial(bounds.storable, longest=LONGEST_TEXT))]
# Ids go into the paths of later calls, so they must not contain a slash.
ID = re.compile(rf"^[A-Za-z0-9_]{{1,{bounds.PSP_ID}}}$")
Id = Annotated[str, Field(pattern=ID.pattern)]
Amount = Annotated[int, Field(ge=0, le=LARGEST_MINOR)]
SignedAmount = Annotated[int, Field(ge=-LARGEST_MINOR, le=LARGEST_MINOR)]
# The statuses of a refund that has given nothing back, and of an intent under which money is held or taken.
FAILED_REFUND = ("failed", "canceled")
WITH_MONEY = ("requires_capture", "succeeded")
# Until the year 2200, as everywhere.
UnixTime = Annotated[int, Field(ge=0, lt=7_258_118_400)]


class _Wire(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore")


class _WithId(_Wire):
    id: Id


Item = TypeVar("Item", bound=_WithId)


class _PaymentError(_Wire):
    code: Code | None = None
    decline_code: Code | None = None
    message: Words | None = None


class WireIntent(_WithId):
    """A PaymentIntent."""

    object: Literal["payment_intent"]
    status: Code
    amount: Amount
    amount_capturable: Amount = 0
    amount_received: Amount = 0
    currency: Code
    metadata: dict[str, str] = {}
    next_action: dict[str, Any] | None = None
    last_payment_error: _PaymentError | None = None

    @property
    def subject(self) -> Subject | None:
        """The payment or top-up of this charge, or None."""
        return subject_in(self.metadata, "charge_id")

    def intent(self) -> Intent:
        """Return it in our own terms."""
        return Intent(
            self.id,
            self.status,
            self.amount,
            self.amount_capturable,
            self.amount_received,
            self.currency.upper(),
            self.subject,
            self._outcome(),
        )

    def _outcome(
        self,
    ) -> Authorized | ActionRequired | Captured | Voided | Declined | Unknown:
        match self.status:
            case "requires_capture" if self.amount_capturable == self.amount:
                return Authorized(self.id)
            case "succeeded":
                return Captured(self.id)
            case "canceled":
                return Voided(self.id)
            case "requires_payment_method":
                error = self.last_payment_error or _PaymentError()
                return declined(self.id, error)
            case "requires_action":
                return ActionRequired(self.id, _url(self.next_action or {}))
        return Unknown(f"{self.status}: the intent is not decided yet")


class WireRefund(_WithId):
    """A Refund."""

    object: Literal["refund"]
    amount: Amount
    status: Code
    currency: Code | None = None
    payment_intent: str | None = None
    metadata: dict[str, str] = {}
    failure_reason: Code | None = None

    def is_of(self, subject: Subject) -> bool:
        """Return True when this is a refund for this subject."""
        return subject_in(self.metadata, "refund_id", subject.kind) == subject

    @property
    def attempt(self) -> int:
        """The number of its attempt; 1 when the metadata has none."""
        named = self.metadata.get("attempt", "1")
        return int(named) if named.isascii() and named.isdigit() and len(named) < 10 else 1

    @property
    def has_failed(self) -> bool:
        """True when it has finally failed: no money went back."""
        return self.status in FAILED_REFUND

    def difference(self, amount_minor: int | None, currency: str | None) -> Unknown | None:
        """Return Unknown when this is not a refund of this amount and currency; missing values are not compared."""
        if amount_minor is not None and self.amount != amount_minor:
            return Unknown(f"wrong_amount: {self.amount} refunded, not {amount_minor}")
        if currency and self.currency and self.currency.upper() != currency:
            return Unknown(f"wrong_currency: {self.currency.upper()} refunded, not {currency}")
        return None

    def outcome(self) -> Refunded | RefundPending | Refused | Unknown:
        """Return the meaning of the refund's status."""
        match self.status:
            case "succeeded":
                return Refunded(self.id)
            case "pending" | "requires_action":
                return RefundPending(self.id)
            case _ if self.has_failed:
                return Refused(
                    self.failure_reason or self.status, f"refund {self.id} {self.status}"
                )
        return Unknown(f"{self.status}: not a refund's status")


class _Source(_Wire):
    id: Id | None = None
    object: Code = ""
    # An id, or the object itself when it was requested with `expand`.
    payment_intent: Any = None
    metadata: dict[str, str] | None = None


class WireBalanceTransaction(_WithId):
    """A BalanceTransaction."""

    object: Literal["balance_transaction"]
    type: Code
    reporting_category: Code
    amount: SignedAmount
    fee: SignedAmount
    net: SignedAmount
    currency: Annotated[str, Field(pattern="^[A-Za-z]{3}$")]
    created: UnixTime
    source: _Source | Id | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> "WireBalanceTransaction":
        if self.net != self.amount - self.fee:
            raise ValueError("the line does not add up")
        return self

    def line(self) -> BalanceTransaction:
        """Return it in our own terms."""
        source = self.source if isinstance(self.source, _Source) else _Source()
        intent_id = source.payment_intent
        return BalanceTransaction(
            self.id,
            self.type,
            self.reporting_category,
            self.amount,
            self.fee,
            self.net,
            self.currency.upper(),
            datetime.fromtimestamp(self.created, UTC),
            self.source if isinstance(self.source, str) else source.id,
            intent_id if isinstance(intent_id, str) and ID.fullmatch(intent_id) else None,
            subject_in(source.metadata or {}, "refund_id", Kind.REFUND),
            subject_in(source.metadata or {}, "charge_id"),
        )


class WirePage(_Wire, Generic[Item]):
    """One page of a list, newest first."""

    data: list[Item]
    has_more: bool


WireBalancePage = WirePage[WireBalanceTransaction]
WireRefunds = WirePage[WireRefund]
WireIntents = WirePage[WireIntent]


class WireError(_Wire):
    """The PSP's reason for a refusal."""

    type: Code
    code: Code | None = None
    decline_code: Code | None = None
    message: Words | None = None
    payment_intent: WireIntent | None = None


class WireProblem(_Wire):
    """The body of every response that is not 2xx."""

    error: WireError


def declined(intent_id: str | None, error: WireError | _PaymentError) -> Declined:
    """Return a decline with the most specific code that the PSP gave."""
    code = error.decline_code or error.code or "declined"
    return Declined(intent_id, code, error.message or "The payment method was declined.")


def subject_in(
    metadata: Mapping[str, Any], id_name: str, former: Kind | None = None
) -> Subject | None:
    """Return the subject in the metadata, or None when there is none (money that other systems moved on the account).

    `former` is the kind for older metadata without a kind.
    """
    try:
        return Subject(Kind(metadata.get("kind", former)), UUID(metadata[id_name]))
    except (AttributeError, KeyError, TypeError, ValueError):
        return None


def _url(next_action: dict[str, Any]) -> str | None:
    # Every method has its own key: redirect_to_url, alipay_handle_redirect, wechat_pay_display_qr_code, …
    details = next_action.get(str(next_action.get("type")))
    if not isinstance(details, dict):
        return None
    url = details.get("url") or details.get("hosted_instructions_url")
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return None
    return url if len(url) <= bounds.ACTION_URL and bounds.is_storable(url) else None
