"""HTTP in: promises that are kept once, problems that say what to do, and nobody else's payments."""

import asyncio
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing.door.objections import OBJECTIONS
from tests.services.billing.door.web import Wallet, deliver, problem
from tests.services.billing.payments import books
from tests.support.errands import PayingProcess
from tests.support.factories import (
    fund_wallet,
    make_bill,
    pay_bill,
)


async def test_a_payment_is_seen_from_its_promise_to_its_receipt(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    await fund_wallet(engine, 10_000)
    answer = await wallet.pay(await make_bill(engine))
    assert answer.status_code == 202
    promised = answer.json()
    assert answer.headers["location"] == promised["url"] == f"/v1/payments/{promised['id']}"
    seen = (await wallet.get(promised["url"])).json()
    assert (seen["status"], seen["receipt_number"]) == ("processing", None)
    assert [each["id"] for each in (await wallet.get("/v1/payments")).json()["items"]] == [
        promised["id"]
    ]
    assert await deliver(engine, payments) == []
    assert await deliver(engine, payments) == [], "delivered twice, paid once"
    seen = (await wallet.get(promised["url"])).json()
    assert (seen["status"], seen["state"], seen["reason"]) == ("succeeded", "succeeded", None)
    assert len(seen["receipt_number"]) == 24
    assert len((await wallet.get("/v1/payments")).json()["items"]) == 1
    await books.audit(engine)


async def test_the_same_key_is_the_same_payment(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    await fund_wallet(engine, 20_000)
    bill = await make_bill(engine)
    answers = await asyncio.gather(*(wallet.pay(bill, "key-1") for _ in range(6)))
    assert {each.status_code for each in answers} == {202}
    assert len({each.json()["id"] for each in answers}) == 1
    assert sum("idempotency-replayed" in each.headers for each in answers) == 5
    await deliver(engine, payments)
    late = await wallet.pay(bill, "key-1")
    assert (late.status_code, late.json()["id"]) == (202, answers[0].json()["id"])
    assert await books.balance(engine, "wallet:city-app:payer-1") == (11_150, 0)


async def test_a_key_with_another_body_or_at_another_address_is_an_error(
    engine: AsyncEngine, wallet: Wallet
) -> None:
    bill = await make_bill(engine)
    both = {"payment_method": "pm_card_visa"}  # a body that either address would take
    assert (await wallet.pay(bill, "key-1", **both)).status_code == 202
    problem(await wallet.pay(bill, "key-1", payer="payer-2"), 422, "idempotency-key-reused")
    body = {
        "bill_id": str(bill),
        "payer": "payer-1",
        "amount_minor": 8_850,
        "currency": "CNY",
        "funding": {"kind": "wallet"},
        **both,
    }
    problem(await wallet.post("/v1/top-ups", body, "key-1"), 422, "idempotency-key-reused")


async def test_a_key_stands_for_one_channel_only(
    engine: AsyncEngine, wallet: Wallet, stranger: Wallet
) -> None:
    bill = await make_bill(engine)
    mine, theirs = await wallet.pay(bill, "key-1"), await stranger.pay(bill, "key-1")
    assert mine.json()["id"] != theirs.json()["id"]


async def test_an_objection_leaves_the_key_free(engine: AsyncEngine, wallet: Wallet) -> None:
    bill = await make_bill(engine)
    problem(await wallet.pay(bill, "key-1", amount_minor=1), 422, "amount-not-allowed")
    assert (await wallet.pay(bill, "key-1")).status_code == 202


@pytest.mark.parametrize(
    "path",
    ["/v1/payments", "/v1/top-ups", f"/v1/payments/{uuid7()}/refunds"],
    ids=["payment", "top-up", "refund"],
)
async def test_without_a_key_nothing_is_promised(wallet: Wallet, path: str) -> None:
    body = {
        "bill_id": str(uuid7()),
        "payer": "p",
        "amount_minor": 1,
        "currency": "CNY",
        "funding": {"kind": "wallet"},
        "payment_method": "pm_x",
    }
    problem(await wallet.client.post(path, json=body), 400, "idempotency-key-required")


@pytest.mark.parametrize(
    ("reason", "bill", "asked"),
    [
        ("bill_closed", {"closed": True}, {}),
        ("bill_expired", {"expires_in": timedelta(seconds=-1)}, {}),
        ("currency_mismatch", {}, {"currency": "USD"}),
        ("amount_not_allowed", {}, {"amount_minor": 8_849}),
        ("above_limit", {"rule": "any"}, {"amount_minor": 5_000_001}),
        ("bill_unknown", {}, {"bill_id": str(uuid7())}),
    ],
)
async def test_each_objection_has_its_problem(
    engine: AsyncEngine,
    wallet: Wallet,
    reason: str,
    bill: dict[str, Any],
    asked: dict[str, Any],
) -> None:
    answer = await wallet.pay(await make_bill(engine, **bill), **asked)
    body = problem(answer, OBJECTIONS[reason].status, reason.replace("_", "-"))
    assert body["detail"] == f"{OBJECTIONS[reason].means} {OBJECTIONS[reason].do}"
    assert body["reason"] == reason
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM payment_requests")) == 0
        assert await connection.scalar(text("SELECT count(*) FROM outbox")) == 0


async def test_a_bill_that_is_paid_already_is_an_objection(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    await fund_wallet(engine, 10_000)
    bill = await make_bill(engine)
    await payments.pay([pay_bill(bill)])
    problem(await wallet.pay(bill), 409, "bill-already-paid")


@pytest.mark.parametrize(
    "asked",
    [
        {"amount_minor": 0},
        {"amount_minor": -8_850},
        {"amount_minor": "8850"},
        {"amount_minor": 88.5},
        {"amount_minor": 2**53},
        {"currency": "cny"},
        {"payer": "+86 138 0000 0000"},
        {"payer": ""},
        {"bill_id": "1"},
        {"funding": {"kind": "cash"}},
        {"funding": {"kind": "psp", "payment_method": "4242 4242"}},
        {"funding": None},
    ],
    ids=str,
)
async def test_what_is_against_the_contract_is_named_and_not_repeated(
    engine: AsyncEngine, wallet: Wallet, asked: dict[str, Any]
) -> None:
    answer = await wallet.pay(await make_bill(engine), **asked)
    body = problem(answer, 422, "invalid-request")
    assert next(iter(asked)) in body["errors"][0]["field"]
    assert "138 0000" not in answer.text


async def test_another_channels_payment_does_not_exist(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet, stranger: Wallet
) -> None:
    await fund_wallet(engine, 20_000)
    open_one = (await wallet.pay(await make_bill(engine))).json()["id"]
    problem(await stranger.get(f"/v1/payments/{open_one}"), 404, "not-found")
    await deliver(engine, payments)
    problem(await stranger.get(f"/v1/payments/{open_one}"), 404, "not-found")
    problem(await stranger.post(f"/v1/payments/{open_one}/refunds", {}), 404, "not-found")
    refund = (await wallet.post(f"/v1/payments/{open_one}/refunds", {})).json()
    problem(await stranger.get(refund["url"]), 404, "not-found")
    assert (await stranger.get("/v1/payments")).json()["items"] == []
    assert (await stranger.get("/v1/wallets/payer-1")).json() == []


async def test_pages_hold_every_payment_once_newest_first(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    await fund_wallet(engine, 100_000)
    made = [(await wallet.pay(await make_bill(engine))).json()["id"] for _ in range(5)]
    await deliver(engine, payments)
    made += [(await wallet.pay(await make_bill(engine))).json()["id"] for _ in range(4)]
    batch = [pay_bill(await make_bill(engine), payer="payer-2") for _ in range(3)]
    await payments.pay(batch)  # of one moment
    for params, wanted in (
        ({}, 12),
        ({"payer": "payer-1"}, 9),
        ({"payer": "payer-2"}, 3),
        ({"payer": "nobody"}, 0),
    ):
        seen, cursor = [], None
        while True:
            fields = {**params, "limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await wallet.get("/v1/payments", **fields)).json()
            assert len(page["items"]) <= 2
            seen += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                break
        assert len({each["id"] for each in seen}) == len(seen) == wanted
        times = [(each["created_at"], each["id"]) for each in seen]
        assert times == sorted(times, reverse=True)
    assert set(made) <= {
        each["id"] for each in (await wallet.get("/v1/payments", limit=200)).json()["items"]
    }
    problem(await wallet.get("/v1/payments", cursor="nonsense"), 422, "bad-cursor")
    problem(await wallet.get("/v1/payments", limit=0), 422, "invalid-request")


async def test_who_does_not_say_who_is_calling_is_told_how(wallet: Wallet) -> None:
    async with httpx.AsyncClient(base_url=wallet.client.base_url) as nobody:
        for path in ("/v1/payments", f"/v1/payments/{uuid7()}", "/v1/wallets/payer-1"):
            problem(await nobody.get(path), 401, "unauthorized")
