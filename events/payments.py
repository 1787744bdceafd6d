"""Payments, refunds and top-ups: commands in, events out.

The key of everything about one payment is its payment id, refunds included; a top-up is its own aggregate on the
same topics. `sequence` in the envelope counts an aggregate's events from 1 without gaps.
"""

from typing import Annotated, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from events import bounds
from events.bills import BillerId
from events.bounds import Fitted
from events.message import Event
from events.money import AmountMinor, AmountMinorOrZero, Currency
from events.topics import PAYMENT_COMMANDS, PAYMENT_EVENTS

ChannelId = Annotated[
    str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$", description="the wallet app")
]
# Never a phone number, a name or an account number.
Payer = Annotated[
    str,
    Field(pattern=r"^[A-Za-z0-9_-]{1,64}$", description="the channel's opaque name for its user"),
]
PaymentId = Annotated[
    UUID, Field(description="given by the channel; the same id is the same payment")
]
RefundId = Annotated[
    UUID, Field(description="given by the channel; the same id is the same refund")
]
TopUpId = Annotated[UUID, Field(description="given by the channel; the same id is the same top-up")]
PaymentMethod = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_]{1,64}$", description="the payment provider's token, never a card"
    ),
]
ReceiptNumber = Annotated[
    str, Fitted(bounds.RECEIPT_NUMBER), Field(description="24 characters, without hyphens")
]
ActionUrl = Annotated[
    str,
    Fitted(bounds.ACTION_URL),
    Field(description="where the payer confirms; at most 2,048 characters"),
]
Reason = Annotated[
    str,
    Fitted(bounds.REASON),
    Field(max_length=bounds.REASON, description="a short code, for example bill_expired"),
]


class WalletFunding(BaseModel):
    """The payer's balance in our ledger."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["wallet"] = "wallet"


class PspFunding(BaseModel):
    """The payment service provider, with its own token for the payer's means of payment."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["psp"] = "psp"
    payment_method: PaymentMethod


Funding = Annotated[WalletFunding | PspFunding, Field(discriminator="kind")]


class PayBill(Event):
    """Pay this bill. The amount is the one that the payer has seen; the bill's rule decides whether it is accepted."""

    topic = PAYMENT_COMMANDS
    key_field = "payment_id"

    payment_id: PaymentId
    channel: ChannelId
    payer: Payer
    bill_id: Annotated[UUID, Field(description="from a lookup")]
    amount_minor: AmountMinor
    currency: Currency
    funding: Annotated[Funding, Field(description="where the payer's money comes from")]


class RefundPayment(Event):
    """Give back all that is left of a payment, or `amount_minor` of it."""

    topic = PAYMENT_COMMANDS
    key_field = "payment_id"

    refund_id: RefundId
    payment_id: PaymentId
    channel: ChannelId
    amount_minor: Annotated[
        AmountMinor | None, Field(description="the amount to refund; without it, all that is left")
    ] = None
    reason: Reason = "requested"


class TopUpWallet(Event):
    """Move money from the payer's means of payment into the payer's wallet."""

    topic = PAYMENT_COMMANDS
    key_field = "top_up_id"

    top_up_id: TopUpId
    channel: ChannelId
    payer: Payer
    amount_minor: AmountMinor
    currency: Currency
    payment_method: PaymentMethod


class _PaymentEvent(Event):
    payment_id: PaymentId
    channel: ChannelId
    payer: Payer
    bill_id: Annotated[UUID, Field(description="from a lookup")]
    biller_id: BillerId | None = None  # missing when the bill is unknown
    amount_minor: AmountMinor
    currency: Currency


class PaymentAccepted(_PaymentEvent):
    """The payment is under way; the PSP or the biller is called next."""

    topic = PAYMENT_EVENTS
    key_field = "payment_id"


class PaymentActionRequired(_PaymentEvent):
    """The payer has to confirm at `action_url` (3-D Secure or a wallet's own page)."""

    topic = PAYMENT_EVENTS
    key_field = "payment_id"

    action_url: ActionUrl


class PaymentSucceeded(_PaymentEvent):
    """The biller has marked the bill paid and the money has moved."""

    topic = PAYMENT_EVENTS
    key_field = "payment_id"

    receipt_number: ReceiptNumber


class PaymentFailed(_PaymentEvent):
    """No money moved. `outcome` is the final state, `reason` a short code."""

    topic = PAYMENT_EVENTS
    key_field = "payment_id"

    outcome: Annotated[
        Literal["rejected", "declined", "voided"],
        Field(
            description="rejected by Meterhall, declined by the payer's side, or voided after the biller refused"
        ),
    ]
    reason: Reason


class PaymentReversed(_PaymentEvent):
    """The bill was marked unpaid again and the whole amount given back."""

    topic = PAYMENT_EVENTS
    key_field = "payment_id"

    reason: Reason


class PaymentRefunded(_PaymentEvent):
    """`refund_minor` was given back by this refund, `refunded_minor` by all refunds so far."""

    topic = PAYMENT_EVENTS
    key_field = "payment_id"

    refund_id: RefundId
    refund_minor: Annotated[AmountMinor, Field(description="the amount of this refund")]
    refunded_minor: Annotated[AmountMinor, Field(description="the sum of all refunds so far")]


class RefundFailed(_PaymentEvent):
    """The refund was refused; the payment stands as before."""

    topic = PAYMENT_EVENTS
    key_field = "payment_id"

    refund_id: RefundId
    refund_minor: Annotated[AmountMinorOrZero, Field(description="the requested amount")]
    reason: Reason


class _TopUpEvent(Event):
    top_up_id: TopUpId
    channel: ChannelId
    payer: Payer
    amount_minor: AmountMinor
    currency: Currency


class WalletToppedUp(_TopUpEvent):
    """The wallet's balance has grown by the amount."""

    topic = PAYMENT_EVENTS
    key_field = "top_up_id"


class TopUpActionRequired(_TopUpEvent):
    """The payer has to confirm the top-up at `action_url`."""

    topic = PAYMENT_EVENTS
    key_field = "top_up_id"

    action_url: ActionUrl


class TopUpFailed(_TopUpEvent):
    """The means of payment was refused; no money moved."""

    topic = PAYMENT_EVENTS
    key_field = "top_up_id"

    reason: Reason
