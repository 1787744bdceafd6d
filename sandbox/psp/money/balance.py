"""The PSP's book of the account's money: a line for whatever moves it, and the payouts that sweep the lines."""

from typing import Any

from sandbox.psp.api.errors import refused
from sandbox.psp.provider import Provider
from sandbox.psp.psp_store import Object

# 0.6 %, what Chinese payment institutions take of a merchant as a rule.
FEE_PER_MILLE = 6


def fee_of(amount: int) -> int:
    """The PSP's fee, rounded half up."""
    return (amount * FEE_PER_MILLE + 500) // 1000


def enter(provider: Provider, category: str, amount: int, source: Object, *, fee: int = 0) -> str:
    """Write one line; its id. `category` is Stripe's reporting category. A line waits for a payout of its currency,
    unless it is the one of a payout that swept all others."""
    currency = source["currency"]
    details = {
        "amount": fee,
        "currency": currency,
        "description": "processing fees",
        "type": "stripe_fee",
    }
    line = provider.new(
        "balance_transaction",
        amount=amount,
        available_on=provider.now(),
        currency=currency,
        description=None,
        exchange_rate=None,
        fee=fee,
        fee_details=[details] if fee else [],
        net=amount - fee,
        reporting_category=category,
        source=source["id"],
        status="available",
        # Its type is named as its category is, but for what a partial capture gives back.
        type="refund" if category == "partial_capture_reversal" else category,
    )
    swept = source["object"] == "payout" and source["automatic"]
    parent = source["id"] if swept else f"due:{currency}"
    provider.store.put("balance_transaction", line, parent=parent)
    return str(line["id"])


def due(provider: Provider, currency: str) -> int:
    """Return the amount that could be paid out now."""
    rows = provider.store.query(
        "SELECT coalesce(sum(json_extract(body, '$.net')), 0) FROM objects WHERE parent = ?",
        f"due:{currency}",
    )
    return int(rows[0][0])


def balance(provider: Provider) -> Object:
    """`GET /v1/balance`."""
    rows = provider.store.query(
        "SELECT substr(parent, 5), sum(json_extract(body, '$.net')) FROM objects"
        " WHERE kind = 'balance_transaction' AND parent LIKE 'due:%' GROUP BY parent"
    )
    available = [{"amount": amount, "currency": currency} for currency, amount in rows]
    return {"object": "balance", "available": available, "livemode": False, "pending": []}


def sweep(provider: Provider, currency: str) -> Object | None:
    """Pay out everything that is due, as the PSP does every day. None when there is nothing to pay."""
    amount = due(provider, currency)
    if amount <= 0:
        return None
    payout = _new_payout(provider, amount, currency, automatic=True, metadata={})
    provider.store.execute(
        "UPDATE objects SET parent = ? WHERE parent = ? AND kind = 'balance_transaction'",
        payout["id"],
        f"due:{currency}",
    )
    return _pay(provider, payout)


def create_payout(provider: Provider, params: dict[str, Any]) -> Object:
    """`POST /v1/payouts`: pay out a sum by hand; its lines cannot be distinguished afterwards, as at Stripe."""
    amount, currency = params["amount"], params["currency"]
    if amount > due(provider, currency):
        raise refused(
            "You have insufficient funds in your balance for this payout.", "balance_insufficient"
        )
    metadata = params.get("metadata", {})
    payout = _new_payout(provider, amount, currency, automatic=False, metadata=metadata)
    return _pay(provider, payout)


def _new_payout(
    provider: Provider, amount: int, currency: str, *, automatic: bool, metadata: dict[str, str]
) -> Object:
    return provider.new(
        "payout",
        amount=amount,
        arrival_date=provider.now(),
        automatic=automatic,
        balance_transaction=None,
        currency=currency,
        description=None,
        metadata=metadata,
        method="standard",
        reconciliation_status="completed" if automatic else "not_applicable",
        status="paid",
        type="bank_account",
    )


def _pay(provider: Provider, payout: Object) -> Object:
    payout["balance_transaction"] = enter(provider, "payout", -payout["amount"], payout)
    provider.store.put("payout", payout)
    provider.emit("payout.paid", payout)
    if payout["automatic"]:
        provider.emit("payout.reconciliation_completed", payout)
    return payout
