"""Test payment methods: what happens when one is charged (docs.stripe.com/testing; `pm_fault_…` are ours)."""

from dataclasses import dataclass, field

from sandbox.psp.api.errors import missing
from sandbox.psp.psp_faults import of_method


@dataclass(frozen=True, slots=True)
class Decline:
    """The payer's bank's reason for a decline."""

    code: str
    decline_code: str | None
    message: str


@dataclass(frozen=True, slots=True)
class Method:
    """`redirect` is the kind of page that the payer has to approve on first; `refunds` is what refunds come to."""

    type: str = "card"
    decline: Decline | None = None
    redirect: str | None = None
    refunds: str = "succeeded"
    details: dict[str, str] = field(default_factory=lambda: {"brand": "visa", "last4": "4242"})


DECLINED = Decline("card_declined", "generic_decline", "Your card was declined.")
NOT_AUTHENTICATED = Decline(
    "payment_intent_authentication_failure",
    None,
    "The payer did not approve the payment. Ask for another payment method.",
)
_POOR = Decline("card_declined", "insufficient_funds", "Your card has insufficient funds.")
_LOST = Decline("card_declined", "lost_card", "Your card was declined.")
_STOLEN = Decline("card_declined", "stolen_card", "Your card was declined.")
_EXPIRED = Decline("expired_card", None, "Your card has expired.")
_CVC = Decline("incorrect_cvc", None, "Your card's security code is incorrect.")
_PROCESSING = Decline(
    "processing_error",
    None,
    "An error occurred while processing your card. Try again in a little bit.",
)
_NO_DETAILS: dict[str, str] = {}

METHODS = {
    "pm_card_visa": Method(),
    "pm_card_mastercard": Method(details={"brand": "mastercard", "last4": "4444"}),
    "pm_card_unionpay": Method(details={"brand": "unionpay", "last4": "0005"}),
    "pm_card_authenticationRequired": Method(redirect="redirect_to_url"),
    "pm_card_threeDSecure2Required": Method(redirect="redirect_to_url"),
    "pm_card_threeDSecureRequiredChargeDeclined": Method(
        redirect="redirect_to_url", decline=DECLINED
    ),
    "pm_card_pendingRefund": Method(refunds="pending"),
    "pm_card_refundFail": Method(refunds="failed"),
    "pm_alipay": Method("alipay", redirect="alipay_handle_redirect", details=_NO_DETAILS),
    "pm_wechat_pay": Method("wechat_pay", redirect="redirect_to_url", details=_NO_DETAILS),
}
for _name, _decline in (
    ("chargeDeclined", DECLINED),
    ("chargeDeclinedInsufficientFunds", _POOR),
    ("chargeDeclinedLostCard", _LOST),
    ("chargeDeclinedStolenCard", _STOLEN),
    ("chargeDeclinedExpiredCard", _EXPIRED),
    ("chargeDeclinedIncorrectCvc", _CVC),
    ("chargeDeclinedProcessingError", _PROCESSING),
):
    METHODS[f"pm_card_{_name}"] = METHODS[f"pm_card_visa_{_name}"] = Method(decline=_decline)


def method(name: str) -> Method:
    """The payment method, or the error that it does not exist."""
    found = METHODS["pm_card_visa"] if of_method(name) else METHODS.get(name)
    if found is None:
        raise missing("PaymentMethod", name, "payment_method")
    return found
