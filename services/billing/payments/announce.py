"""The events of a payment: what the wallet and notifications are told, numbered by the payment's version."""

from datetime import datetime
from typing import Any

from events.payments import (
    PaymentAccepted,
    PaymentActionRequired,
    PaymentFailed,
    PaymentSucceeded,
)
from events.receipts import ReceiptIssued
from messaging.outbox import Outgoing
from services.billing.payments.model import Payment


def accepted(payment: Payment) -> Outgoing:
    return _of(payment, PaymentAccepted(**_about(payment)), payment.version)


def action_required(payment: Payment, version: int, url: str) -> Outgoing:
    return _of(payment, PaymentActionRequired(**_about(payment), action_url=url), version)


def failed(payment: Payment, version: int, outcome: str, reason: str) -> Outgoing:
    event = PaymentFailed.model_validate({**_about(payment), "outcome": outcome, "reason": reason})
    return _of(payment, event, version)


def succeeded(
    payment: Payment, version: int, receipt_number: str, at: datetime
) -> tuple[Outgoing, Outgoing]:
    """The payment's success and its receipt. The receipt is an aggregate of its own, so its events count from 1."""
    about = _about(payment)
    receipt = ReceiptIssued.model_construct(
        payment_id=payment.id,
        receipt_number=receipt_number,
        channel=payment.channel,
        payer=payment.payer,
        biller_id=payment.bill.biller_id,
        amount_minor=payment.amount_minor,
        currency=payment.currency,
        issued_at=at,
    )
    success = PaymentSucceeded.model_construct(**about, receipt_number=receipt_number)
    return _of(payment, success, version), _of(payment, receipt, 1)


def _about(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": payment.id,
        "channel": payment.channel,
        "payer": payment.payer,
        "bill_id": payment.bill.id,
        "biller_id": payment.bill.biller_id,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    }


def _of(payment: Payment, event: Any, sequence: int) -> Outgoing:
    return Outgoing.of(
        event,
        sequence,
        correlation_id=payment.correlation_id,
        traceparent=payment.traceparent,
    )
