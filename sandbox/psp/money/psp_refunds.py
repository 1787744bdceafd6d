"""Refunds: money given back, never more than was taken, and sometimes not until later or not at all."""

from typing import Any

from sandbox.psp.api import errors
from sandbox.psp.money import balance
from sandbox.psp.money.intents import load
from sandbox.psp.money.methods import method
from sandbox.psp.provider import Provider
from sandbox.psp.psp_store import Object

# The events that tell of a refund that failed, each with the refund: today's, and those of earlier versions of the API.
FAILED_EVENTS = ("refund.failed", "refund.updated", "charge.refund.updated")


def create(provider: Provider, params: dict[str, Any]) -> Object:
    """`POST /v1/refunds`."""
    intent, charge = _taken(provider, params)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = params.get("amount", left)
    if left == 0:
        raise errors.refused(
            f"Charge {charge['id']} has already been refunded.", "charge_already_refunded"
        )
    if amount > left:
        raise errors.refused(
            f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).",
            "amount_too_large",
        )
    refund = provider.new(
        "refund",
        amount=amount,
        balance_transaction=None,
        charge=charge["id"],
        currency=charge["currency"],
        metadata=params.get("metadata", {}),
        payment_intent=intent["id"],
        reason=params.get("reason"),
        status="succeeded",
    )
    refund["balance_transaction"] = balance.enter(provider, "refund", -amount, refund)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    if method(charge["payment_method"]).refunds != "succeeded":
        refund["status"] = "pending"
    provider.store.put("charge", charge)
    provider.store.put("refund", refund, parent=intent["id"])
    _enter(provider, refund, intent)
    provider.emit("refund.created", refund)
    provider.emit("charge.refunded", charge)
    if method(charge["payment_method"]).refunds == "failed":
        # The answer says pending; the failure comes by webhook and shows from the next read on.
        settle(provider, refund["id"], "refund.failed")
    return refund


def settle(provider: Provider, refund_id: str, failed_event: str | None) -> Object:
    """Decide a refund: a pending one either way; a succeeded one can still fail, as a bank's return does.

    `failed_event` is the event of its failure; None when it succeeds.
    """
    refund = provider.require("refund", refund_id)
    wanted = "failed" if failed_event else "succeeded"
    if refund["status"] == wanted:
        return refund
    if refund["status"] == "failed":
        raise errors.refused(f"Refund {refund_id} has failed for good.", "refund_already_failed")
    refund["status"] = wanted
    intent = provider.require("payment_intent", refund["payment_intent"])
    if failed_event:
        refund["failure_reason"] = "declined"
        refund["failure_balance_transaction"] = balance.enter(
            provider, "refund_failure", refund["amount"], refund
        )
        charge = provider.require("charge", refund["charge"])
        charge["amount_refunded"] -= refund["amount"]
        charge["refunded"] = False
        provider.store.put("charge", charge)
    provider.store.put("refund", refund)
    _enter(provider, refund, intent)
    provider.emit(failed_event or "refund.updated", refund)
    return refund


def _taken(provider: Provider, params: dict[str, Any]) -> tuple[Object, Object]:
    if "payment_intent" not in params and "charge" not in params:
        raise errors.invalid(
            "One of the following params should be provided for this request: payment_intent or"
            " charge.",
            code="parameter_missing",
        )
    if "payment_intent" in params:
        intent = load(provider, params["payment_intent"])
    else:
        charge = provider.require("charge", params["charge"], "charge")
        intent = load(provider, charge["payment_intent"])
    if intent["status"] != "succeeded":
        raise errors.refused(
            f"This PaymentIntent ({intent['id']}) has not taken any money: its status is"
            f" {intent['status']}.",
            "payment_intent_unexpected_state",
            intent,
        )
    return intent, provider.require("charge", intent["latest_charge"])


def _enter(provider: Provider, refund: Object, intent: Object) -> None:
    provider.enter(
        "refund", refund["id"], intent, refund["amount"], refund["status"], refund["metadata"]
    )
