"""One id for two things, and headers that nobody can keep: by the real Kafka, through all processes of a city."""

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

# Above the outbox's former limit for all short texts together, and below what Kafka takes.
LONG = "c" * 1_990


async def until(what: Callable[[], Awaitable[Any]]) -> Any:
    """Wait for an answer that is one; the wallet hears of nothing before the worker has looked."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            found = await what()
        except WalletError:
            found = None
        if found and found["status"] not in {"processing"}:
            return found
        assert time.monotonic() < deadline, found
        await asyncio.sleep(0.1)


async def test_one_id_pays_a_bill_fills_a_wallet_and_gives_back(
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
    paid = await until(lambda: wallet.get(f"/v1/payments/{id}"))
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
    assert (await until(lambda: wallet.get(f"/v1/top-ups/{id}")))["status"] == "succeeded"
    [balance] = await wallet.get(f"/v1/wallets/{payer}")
    assert balance["available_minor"] == amount
    await wallet.send(RefundPayment(refund_id=id, payment_id=id, channel=CHANNEL), LONG)
    assert (await until(lambda: wallet.get(f"/v1/refunds/{id}")))["status"] == "succeeded"
    assert (await wallet.get(f"/v1/payments/{id}"))["status"] == "refunded"
    # Both stand in one history, apart.
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
    assert [row["correlation_id"] for row in rows] == [None], "it was dropped, and nothing else"
    assert await city_books.query(city, f"SELECT 1 FROM cases WHERE subject = '{id}'") == []
    city.command("audit")
