"""Receipts: the proof of a succeeded payment, with a number that anyone can verify."""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from events import bounds
from events.bills import BillerId
from events.bounds import Fitted
from events.message import Event
from events.money import AmountMinor, Currency
from events.payments import ChannelId, Payer, PaymentId, ReceiptNumber
from events.topics import RECEIPT_EVENTS


class _ReceiptEvent(Event):
    payment_id: PaymentId
    receipt_number: ReceiptNumber
    channel: ChannelId
    payer: Payer


class ReceiptIssued(_ReceiptEvent):
    """A payment succeeded, and this is its proof."""

    topic = RECEIPT_EVENTS
    key_field = "payment_id"

    biller_id: BillerId
    amount_minor: AmountMinor
    currency: Currency
    issued_at: Annotated[datetime, Field(description="when the payment succeeded")]


class ReceiptVoided(_ReceiptEvent):
    """All of the money went back, so the receipt is void."""

    topic = RECEIPT_EVENTS
    key_field = "payment_id"

    reason: Annotated[str, Fitted(bounds.REASON), Field(description="`refunded` or `reversed`")]
