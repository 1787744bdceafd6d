"""Receipts: the proof of a succeeded payment, with a number that anyone can verify."""

from datetime import datetime
from uuid import UUID

from events.bills import BillerId
from events.message import Event
from events.money import AmountMinor, Currency
from events.payments import ChannelId, Payer
from events.topics import RECEIPT_EVENTS


class _ReceiptEvent(Event):
    payment_id: UUID
    receipt_number: str
    channel: ChannelId
    payer: Payer


class ReceiptIssued(_ReceiptEvent):
    """A payment succeeded, and this is its proof."""

    topic = RECEIPT_EVENTS
    key_field = "payment_id"

    biller_id: BillerId
    amount_minor: AmountMinor
    currency: Currency
    issued_at: datetime


class ReceiptVoided(_ReceiptEvent):
    """The payment was reversed, so the receipt proves nothing any more."""

    topic = RECEIPT_EVENTS
    key_field = "payment_id"

    reason: str
