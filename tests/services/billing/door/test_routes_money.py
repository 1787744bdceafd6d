"""HTTP in: refunds, top-ups and what a wallet holds."""

from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from tests.services.billing.door.web import Wallet, deliver, problem
from tests.services.billing.payments import books
from tests.support.errands import PayingProcess
from tests.support.factories import (
    fund_wallet,
    make_bill,
    make_biller,
    pay_bill,
)


async def test_a_refund_is_promised_kept_and_seen(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    await fund_wallet(engine, 10_000)
    id = (await wallet.pay(await make_bill(engine))).json()["id"]
    await deliver(engine, payments)
    too_much = await wallet.post(f"/v1/payments/{id}/refunds", {"amount_minor": 8_851})
    problem(too_much, 422, "more-than-is-left")
    answer = await wallet.post(f"/v1/payments/{id}/refunds", {"amount_minor": 850}, "key-1")
    assert answer.status_code == 202
    again = await wallet.post(f"/v1/payments/{id}/refunds", {"amount_minor": 850}, "key-1")
    assert again.json() == answer.json()
    assert (await wallet.get(answer.json()["url"])).json()["status"] == "processing"
    await deliver(engine, payments)
    seen = (await wallet.get(answer.json()["url"])).json()
    assert (seen["status"], seen["amount_minor"], seen["payment_id"]) == ("succeeded", 850, id)
    rest = (await wallet.post(f"/v1/payments/{id}/refunds", {})).json()
    await deliver(engine, payments)
    assert (await wallet.get(rest["url"])).json()["amount_minor"] == 8_000
    assert (await wallet.get(f"/v1/payments/{id}")).json()["status"] == "refunded"
    problem(await wallet.post(f"/v1/payments/{id}/refunds", {}), 409, "not-refundable")
    await books.audit(engine)


async def test_what_is_checked_first_and_that_an_objection_leaves_the_key_free(
    engine: AsyncEngine, wallet: Wallet
) -> None:
    id = (await wallet.pay(await make_bill(engine), "key-1")).json()["id"]
    unknown, refunds = f"/v1/payments/{uuid7()}/refunds", f"/v1/payments/{id}/refunds"
    problem(await wallet.post(unknown, {}, "key-1"), 422, "idempotency-key-reused")
    problem(await wallet.post(unknown, {"amount_minor": 8_851}, "key-2"), 404, "not-found")
    problem(await wallet.post(refunds, {"amount_minor": 8_851}, "key-2"), 422, "more-than-is-left")
    assert (await wallet.post(refunds, {"amount_minor": 850}, "key-2")).status_code == 202
    top_up = {"payer": "payer-1", "currency": "CNY", "payment_method": "pm_card_visa"}
    too_much = await wallet.post("/v1/top-ups", {**top_up, "amount_minor": 5_000_001}, "key-3")
    assert problem(too_much, 422, "above-limit")["reason"] == "above_limit"
    right = await wallet.post("/v1/top-ups", {**top_up, "amount_minor": 5_000_000}, "key-3")
    assert right.status_code == 202


async def test_a_payment_that_took_nothing_is_not_refundable(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    id = (await wallet.pay(await make_bill(engine))).json()["id"]
    await deliver(engine, payments)
    seen = (await wallet.get(f"/v1/payments/{id}")).json()
    assert (seen["status"], seen["reason"]) == ("failed", "insufficient_funds")
    body = problem(await wallet.post(f"/v1/payments/{id}/refunds", {}), 409, "not-refundable")
    assert "succeeded" in body["detail"]


async def test_a_top_up_is_promised_and_seen_by_its_channel(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet, stranger: Wallet
) -> None:
    body = {
        "payer": "payer-1",
        "amount_minor": 10_000,
        "currency": "CNY",
        "payment_method": "pm_card_visa",
    }
    answer = await wallet.post("/v1/top-ups", body, "key-1")
    assert answer.status_code == 202
    assert (await wallet.post("/v1/top-ups", body, "key-1")).json() == answer.json()
    assert (await wallet.get(answer.json()["url"])).json()["status"] == "processing"
    problem(await stranger.get(answer.json()["url"]), 404, "not-found")
    too_much = await wallet.post("/v1/top-ups", body | {"amount_minor": 5_000_001})
    problem(too_much, 422, "above-limit")
    await deliver(engine, payments)
    seen = (await wallet.get(answer.json()["url"])).json()
    assert (seen["status"], seen["amount_minor"]) == ("processing", 10_000)


async def test_a_wallet_shows_what_it_has_and_what_is_held(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    assert (await wallet.get("/v1/wallets/payer-1")).json() == []
    await fund_wallet(engine, 10_000)
    await fund_wallet(engine, 700, currency="USD")
    await make_biller(engine, "called", settled_by="call", dialect="json", url="http://127.0.0.1:9")
    await payments.pay([pay_bill(await make_bill(engine, "called"))])
    await payments.drain()
    cny, usd = (await wallet.get("/v1/wallets/payer-1")).json()
    assert cny == {
        "currency": "CNY",
        "balance_minor": 10_000,
        "held_minor": 8_850,
        "available_minor": 1_150,
    }
    assert (usd["currency"], usd["available_minor"]) == ("USD", 700)
