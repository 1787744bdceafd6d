"""PaymentIntents: hold the payer's money, take it, let it go; with a page to approve on where the method asks for it.

requires_payment_method → requires_confirmation → requires_action → requires_capture → succeeded | canceled
"""

from typing import Any

from sandbox.psp.api import errors
from sandbox.psp.money import balance
from sandbox.psp.money.methods import NOT_AUTHENTICATED, Decline, method
from sandbox.psp.provider import Provider
from sandbox.psp.psp_store import Object

# How long a hold lasts (docs.stripe.com/payments/place-a-hold-on-a-payment-method).
HOLD_SECONDS = 7 * 86_400
_CANCELLABLE = (
    "requires_payment_method",
    "requires_capture",
    "requires_confirmation",
    "requires_action",
)


def create(provider: Provider, params: dict[str, Any]) -> Object:
    """`POST /v1/payment_intents`."""
    name = params.get("payment_method")
    types = [method(name).type] if name else params.get("payment_method_types", ["card"])
    intent = provider.new(
        "payment_intent",
        amount=params["amount"],
        amount_capturable=0,
        amount_received=0,
        automatic_payment_methods=params.get("automatic_payment_methods"),
        canceled_at=None,
        cancellation_reason=None,
        capture_method=params.get("capture_method", "automatic"),
        client_secret=None,
        confirmation_method="automatic",
        currency=params["currency"],
        customer=None,
        description=params.get("description"),
        last_payment_error=None,
        latest_charge=None,
        metadata=params.get("metadata", {}),
        next_action=None,
        payment_method=name,
        payment_method_types=types,
        statement_descriptor=params.get("statement_descriptor"),
        status="requires_confirmation" if name else "requires_payment_method",
    )
    intent["client_secret"] = f"{intent['id']}_secret_{provider.token(intent['id'])}"
    if params.get("confirm"):
        _need_method_and_return_url(intent, params)
    for pair in intent["metadata"].items():
        provider.store.execute("INSERT INTO metadata VALUES (?, ?, ?)", *pair, intent["id"])
    if params.get("confirm"):
        return _confirm(provider, intent, params.get("return_url"))
    provider.store.put("payment_intent", intent)
    return intent


def confirm(provider: Provider, intent_id: str, params: dict[str, Any]) -> Object:
    """`POST /v1/payment_intents/:id/confirm`."""
    intent = load(provider, intent_id)
    if "payment_method" in params:
        intent["payment_method"] = params["payment_method"]
        intent["payment_method_types"] = [method(params["payment_method"]).type]
    allowed = ("requires_payment_method", "requires_confirmation", "requires_action")
    _need_status(intent, allowed, "confirmed")
    _need_method_and_return_url(intent, params)
    return _confirm(provider, intent, params.get("return_url"))


def capture(provider: Provider, intent_id: str, params: dict[str, Any]) -> Object:
    """`POST /v1/payment_intents/:id/capture`: all of the hold or a part; the rest is let go."""
    intent = load(provider, intent_id)
    _need_status(intent, ("requires_capture",), "captured")
    amount: int = params.get("amount_to_capture") or intent["amount_capturable"]
    if amount > intent["amount_capturable"]:
        raise errors.refused(
            f"The amount to capture ({amount}) is greater than what can be captured"
            f" ({intent['amount_capturable']}).",
            "amount_too_large",
            intent,
        )
    charge = provider.require("charge", intent["latest_charge"])
    return _take(provider, intent, charge, amount)


def cancel(provider: Provider, intent_id: str, params: dict[str, Any]) -> Object:
    """`POST /v1/payment_intents/:id/cancel`."""
    intent = load(provider, intent_id)
    _need_status(intent, _CANCELLABLE, "canceled")
    return _release(provider, intent, params.get("cancellation_reason"))


def load(provider: Provider, intent_id: str) -> Object:
    """The intent as it is now: a hold that is too old is released on the way."""
    intent = provider.require("payment_intent", intent_id)
    expired = intent["created"] + HOLD_SECONDS <= provider.now()
    if intent["status"] == "requires_capture" and expired:
        return _release(provider, intent, "automatic")
    return intent


def authenticate(provider: Provider, intent_id: str, *, approved: bool) -> Object:
    """The payer's word on the page."""
    intent = load(provider, intent_id)
    if intent["status"] != "requires_action":
        return intent
    intent["next_action"] = None
    decline = method(intent["payment_method"]).decline if approved else NOT_AUTHENTICATED
    if decline:
        _decline(provider, intent, decline)
        return intent
    return _charge(provider, intent)


def _need_status(intent: Object, allowed: tuple[str, ...], done: str) -> None:
    if intent["status"] not in allowed:
        raise errors.refused(
            f"This PaymentIntent could not be {done} because it has a status of"
            f" {intent['status']}. Only a PaymentIntent with one of the following statuses may be"
            f" {done}: {', '.join(allowed)}.",
            "payment_intent_unexpected_state",
            intent,
        )


def _need_method_and_return_url(intent: Object, params: dict[str, Any]) -> None:
    if not intent["payment_method"]:
        raise errors.invalid(
            "You cannot confirm this PaymentIntent because it's missing a payment method.",
            code="payment_intent_unexpected_state",
            param="payment_method",
        )
    automatic = intent["automatic_payment_methods"] or {}
    if automatic.get("allow_redirects") == "never" and method(intent["payment_method"]).redirect:
        raise errors.invalid(
            "This payment method redirects, and `automatic_payment_methods[allow_redirects]` is"
            " never.",
            param="payment_method",
        )
    if automatic.get("allow_redirects") != "never" and not params.get("return_url"):
        raise errors.invalid(
            "Some payment methods redirect the payer away from your page, so you must provide a"
            " `return_url`. To accept none that do, set `automatic_payment_methods[enabled]` to"
            " true and `automatic_payment_methods[allow_redirects]` to never.",
            code="parameter_missing",
            param="return_url",
        )


def _confirm(provider: Provider, intent: Object, return_url: str | None) -> Object:
    chosen = method(intent["payment_method"])
    intent["last_payment_error"] = None
    if chosen.redirect:
        url = f"{provider.base_url}/authenticate/{intent['client_secret']}"
        intent["status"] = "requires_action"
        intent["next_action"] = {
            "type": chosen.redirect,
            chosen.redirect: {"url": url, "return_url": return_url},
        }
        provider.store.put("payment_intent", intent)
        provider.emit("payment_intent.requires_action", intent)
        return intent
    if chosen.decline:
        _decline(provider, intent, chosen.decline)
        raise errors.declined(
            chosen.decline.message, chosen.decline.code, chosen.decline.decline_code, intent
        )
    return _charge(provider, intent)


def _decline(provider: Provider, intent: Object, decline: Decline) -> None:
    intent["status"] = "requires_payment_method"
    intent["last_payment_error"] = {
        "code": decline.code,
        "decline_code": decline.decline_code,
        "message": decline.message,
        "type": "card_error" if decline.decline_code else "invalid_request_error",
    }
    intent["payment_method"] = None
    provider.store.put("payment_intent", intent)
    provider.emit("payment_intent.payment_failed", intent)


def _charge(provider: Provider, intent: Object) -> Object:
    chosen = method(intent["payment_method"])
    charge = provider.new(
        "charge",
        amount=intent["amount"],
        amount_captured=0,
        amount_refunded=0,
        balance_transaction=None,
        captured=False,
        currency=intent["currency"],
        failure_code=None,
        metadata=intent["metadata"],
        paid=True,
        payment_intent=intent["id"],
        payment_method=intent["payment_method"],
        payment_method_details={"type": chosen.type, chosen.type: chosen.details},
        refunded=False,
        status="succeeded",
    )
    intent["latest_charge"] = charge["id"]
    if intent["capture_method"] != "manual":
        return _take(provider, intent, charge, intent["amount"])
    intent["status"] = "requires_capture"
    intent["amount_capturable"] = intent["amount"]
    provider.enter("hold", intent["id"], intent, intent["amount"], "held")
    provider.store.put("charge", charge)
    provider.store.put("payment_intent", intent)
    provider.emit("payment_intent.amount_capturable_updated", intent)
    return intent


def _take(provider: Provider, intent: Object, charge: Object, amount: int) -> Object:
    if intent["status"] == "requires_capture":
        provider.enter("hold", intent["id"], intent, intent["amount"], "captured")
    charge.update(amount_captured=amount, captured=True)
    # Stripe books the whole charge and takes back what was not captured; its reports show both lines.
    charge["balance_transaction"] = balance.enter(
        provider, "charge", charge["amount"], charge, fee=balance.fee_of(amount)
    )
    if amount < charge["amount"]:
        rest = amount - charge["amount"]
        balance.enter(provider, "partial_capture_reversal", rest, charge)
    intent.update(status="succeeded", amount_capturable=0, amount_received=amount)
    provider.enter("capture", intent["id"], intent, amount, "succeeded")
    provider.store.put("charge", charge)
    provider.store.put("payment_intent", intent)
    provider.emit("payment_intent.succeeded", intent)
    return intent


def _release(provider: Provider, intent: Object, reason: str | None) -> Object:
    if intent["status"] == "requires_capture":
        provider.enter("hold", intent["id"], intent, intent["amount"], "released")
    intent.update(
        status="canceled",
        amount_capturable=0,
        canceled_at=provider.now(),
        cancellation_reason=reason,
        next_action=None,
    )
    provider.store.put("payment_intent", intent)
    provider.emit("payment_intent.canceled", intent)
    return intent
