"""The events of refunds, numbered by the version of their payment."""

from events.payments import PaymentRefunded, PaymentReversed, RefundFailed
from events.receipts import ReceiptVoided
from services.billing.payments.refundable import BookedPayment
from services.billing.refunds.model import Outcome
from services.billing.refunds.tables import RefundState


def refund_ended(
    progress: Outcome, payment: BookedPayment, refunded_minor: int
) -> PaymentRefunded | PaymentReversed | RefundFailed:
    """Return the event of a refund's end.

    `payment` is its present state, `refunded_minor` all refunds including this.
    """
    refund = progress.refund
    about = {
        "payment_id": payment.id,
        "channel": payment.channel,
        "payer": payment.payer,
        "bill_id": payment.bill_id,
        "biller_id": payment.biller_id,
        "amount_minor": payment.amount_minor,
        "currency": payment.currency,
    }
    if progress.state == RefundState.SUCCEEDED and refund.reversal:
        return PaymentReversed(**about, reason=progress.reason or "reversed")
    about |= {"refund_id": refund.id, "refund_minor": refund.amount_minor}
    if progress.state == RefundState.SUCCEEDED:
        return PaymentRefunded(**about, refunded_minor=refunded_minor)
    return RefundFailed(**about, reason=progress.reason or "refused")


def receipt_voided(payment: BookedPayment, number: str) -> ReceiptVoided:
    """Return ReceiptVoided. `payment` is its present state, refunded or reversed."""
    return ReceiptVoided(
        payment_id=payment.id,
        receipt_number=number,
        channel=payment.channel,
        payer=payment.payer,
        reason=payment.state,
    )
