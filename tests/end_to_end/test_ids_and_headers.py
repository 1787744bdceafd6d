"""One id for a payment, a refund and a top-up, and headers too long to store, through all processes of a city."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import UUID, uuid4

from events.ids import uuid7
from events.payments import PayBill, PspFunding, RefundPayment, TopUpWallet
from sandbox.demo.day import amount_for
from sandbox.demo.wallet_app import WalletApp, WalletError
from sandbox.local_city import CHANNEL, LocalCity
from tests.end_to_end import city_books
from tests.end_to_end.test_city import PATIENCE_SECONDS, owed

# Longer than the outbox stores, and shorter than Kafka's limit.
LONG = "c" * 1_990


async def until_final(get: Callable[[], Awaitable[Any]]) -> Any:
    """Call until the status is final; before the worker has handled the command the response is an error."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            response = await get()
        except WalletError:
            response = None
        if response and response["status"] not in {"processing"}:
            return response
        assert time.monotonic() < deadline, response
        await asyncio.sleep(0.1)


async def test_a_payment_a_top_up_and_a_refund_may_have_one_id(
    city: LocalCity, wallet: WalletApp
) -> None:
    bill = await owed(city, wallet, 30)
    id, payer = uuid7(), f"three-{uuid4().hex[:8]}"
    amount = amount_for(bill)
    method = "pm_card_visa"
    await wallet.send(
        PayBill(
            payment_id=id,
            channel=CHANNEL,
            payer=payer,
            bill_id=UUID(bill["id"]),
            amount_minor=amount,
            currency="CNY",
            funding=PspFunding(payment_method=method),
        ),
        LONG,
    )
    paid = await until_final(lambda: wallet.get(f"/v1/payments/{id}"))
    assert paid["status"] == "succeeded"
    await wallet.send(
        TopUpWallet(
            top_up_id=id,
            channel=CHANNEL,
            payer=payer,
            amount_minor=amount,
            currency="CNY",
            payment_method=method,
        ),
        LONG,
    )
    assert (await until_final(lambda: wallet.get(f"/v1/top-ups/{id}")))["status"] == "succeeded"
    [balance] = await wallet.get(f"/v1/wallets/{payer}")
    assert balance["available_minor"] == amount
    await wallet.send(RefundPayment(refund_id=id, payment_id=id, channel=CHANNEL), LONG)
    assert (await until_final(lambda: wallet.get(f"/v1/refunds/{id}")))["status"] == "succeeded"
    assert (await wallet.get(f"/v1/payments/{id}"))["status"] == "refunded"
    # One history shows both, under their own headings.
    shown = city.command("payments", "show", str(id))
    assert f"payment {id}" in shown and f"top-up {id}" in shown
    taken = [
        each["amount_minor"]
        for each in city_books.fetch(f"{city.home.url('psp')}/sandbox/book")["captures"]
        if each["charge_id"] == str(id)
    ]
    assert taken == [amount, amount]
    rows = await city_books.query(
        city, f"SELECT DISTINCT correlation_id FROM outbox WHERE key = '{id}'"
    )
    assert [row["correlation_id"] for row in rows] == [None], (
        "the correlation id was dropped, and nothing else"
    )
    assert await city_books.query(city, f"SELECT 1 FROM cases WHERE subject = '{id}'") == []
    city.command("audit")
