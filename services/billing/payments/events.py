"""The events of a payment, numbered by the payment's version."""

from datetime import datetime
from typing import Any

from events.message import Event
from events.payments import PaymentAccepted, PaymentActionRequired, PaymentFailed, PaymentSucceeded
from events.receipts import ReceiptIssued
from messaging.outbox import Outgoing, new_id, stored_type
from services.billing.payments.model import Payment


def accepted(payment: Payment) -> Outgoing:
    """Return PaymentAccepted, the first event of a payment that needs external calls."""
    return _of(payment, PaymentAccepted(**_about(payment)), 1)


def action_required(payment: Payment, version: int, url: str) -> Outgoing:
    """Return PaymentActionRequired: the payer has to confirm at this address."""
    return _of(payment, PaymentActionRequired(**_about(payment), action_url=url), version)


def failed(payment: Payment, version: int, outcome: str, reason: str) -> Outgoing:
    """Return PaymentFailed: the payment ended as `outcome` (rejected, declined or voided), and no money moved."""
    event = PaymentFailed.model_validate({**_about(payment), "outcome": outcome, "reason": reason})
    return _of(payment, event, version)


def succeeded(
    payment: Payment, version: int, receipt_number: str, at: datetime
) -> tuple[Outgoing, Outgoing]:
    """Return PaymentSucceeded and ReceiptIssued. The receipt is an aggregate of its own, so its events count from 1."""
    key = str(payment.id)
    about = _about(payment)
    receipt = {
        "payment_id": payment.id,
        "receipt_number": receipt_number,
        "channel": payment.channel,
        "payer": payment.payer,
        "biller_id": payment.bill.biller_id,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
        "issued_at": at,
    }
    about["receipt_number"] = receipt_number
    return (
        _unvalidated(payment, key, PaymentSucceeded, about, version),
        _unvalidated(payment, key, ReceiptIssued, receipt, 1),
    )


def _about(payment: Payment) -> dict[str, Any]:
    return {
        "payment_id": payment.id,
        "channel": payment.channel,
        "payer": payment.payer,
        "bill_id": payment.bill.id,
        "biller_id": payment.bill.biller_id or None,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    }


def _unvalidated(
    payment: Payment, key: str, model: type[Event], values: dict[str, Any], sequence: int
) -> Outgoing:
    # As _of, without validation by a model, which would take half of the time that a payment costs here.
    return Outgoing(
        new_id(),
        model.topic,
        key,
        sequence,
        stored_type(model),
        model.json_of(values),
        payment.traceparent,
        payment.correlation_id,
    )


def _of(payment: Payment, event: Any, sequence: int) -> Outgoing:
    return Outgoing.of(
        event, sequence, correlation_id=payment.correlation_id, traceparent=payment.traceparent
    )
