"""The payment service provider: a client of Stripe's API, and the check of its webhooks."""

from services.billing.psp.client import Psp
from services.billing.psp.outcomes import (
    ActionRequired,
    Authorized,
    BalanceTransaction,
    Captured,
    Charge,
    Declined,
    Intent,
    Refunded,
    RefundPending,
    Refused,
    Unknown,
    Voided,
)
from services.billing.psp.webhook import (
    BadSignature,
    intent_with_money,
    is_failed_refund,
    verify_webhook,
)
from services.billing.psp.wire import subject_in

__all__ = [
    "ActionRequired",
    "Authorized",
    "BadSignature",
    "BalanceTransaction",
    "Captured",
    "Charge",
    "Declined",
    "Intent",
    "Psp",
    "RefundPending",
    "Refunded",
    "Refused",
    "Unknown",
    "Voided",
    "intent_with_money",
    "is_failed_refund",
    "subject_in",
    "verify_webhook",
]
