"""HTTP in: promises that are kept once, problems that say what to do, and nobody else's payments."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing.payments import Payments
from services.billing.payments.routes import ADVICE
from tests.services.billing.payments import books
from tests.services.billing.payments.web import deliver, serve
from tests.support.factories import (
    fund_wallet,
    make_bill,
    make_biller,
    make_channel,
    pay_bill,
)


class Wallet:
    """A wallet app: one channel's key at one address."""

    def __init__(self, url: str, key: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"})

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.client.get(path, params=params)

    async def post(self, path: str, body: object, key: str | None = None) -> httpx.Response:
        return await self.client.post(
            path, json=body, headers={"Idempotency-Key": key or uuid4().hex}
        )

    async def pay(self, bill: UUID, key: str | None = None, **other: Any) -> httpx.Response:
        body = {
            "bill_id": str(bill),
            "payer": "payer-1",
            "amount_minor": 8_850,
            "currency": "CNY",
            "funding": {"kind": "wallet"},
        }
        return await self.post("/v1/payments", body | other, key)


@pytest.fixture
async def wallet(engine: AsyncEngine, payments: Payments) -> AsyncIterator[Wallet]:
    await make_biller(engine)
    key = await make_channel(engine)
    async with serve(engine) as url:
        made = Wallet(url, key)
        yield made
        await made.client.aclose()


@pytest.fixture
async def stranger(engine: AsyncEngine, wallet: Wallet) -> AsyncIterator[Wallet]:
    made = Wallet(str(wallet.client.base_url), await make_channel(engine, "other-app"))
    yield made
    await made.client.aclose()


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The answer is this problem, in the form of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{slug}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body


async def test_a_payment_is_seen_from_its_promise_to_its_receipt(
    engine: AsyncEngine, payments: Payments, wallet: Wallet
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
    engine: AsyncEngine, payments: Payments, wallet: Wallet
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


@pytest.mark.parametrize("path", ["/v1/payments", "/v1/top-ups", f"/v1/payments/{uuid7()}/refunds"])
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
    said = problem(answer, ADVICE[reason][0], reason.replace("_", "-"))
    assert said["reason"] == reason
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM payment_requests")) == 0
        assert await connection.scalar(text("SELECT count(*) FROM outbox")) == 0


async def test_a_bill_that_is_paid_already_is_an_objection(
    engine: AsyncEngine, payments: Payments, wallet: Wallet
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
    said = problem(answer, 422, "invalid-request")
    assert next(iter(asked)) in said["errors"][0]["field"]
    assert "138 0000" not in answer.text


async def test_another_channels_payment_does_not_exist(
    engine: AsyncEngine, payments: Payments, wallet: Wallet, stranger: Wallet
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
    engine: AsyncEngine, payments: Payments, wallet: Wallet
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
            asked = {**params, "limit": 2} | ({"cursor": cursor} if cursor else {})
            page = (await wallet.get("/v1/payments", **asked)).json()
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


async def test_a_refund_is_promised_kept_and_seen(
    engine: AsyncEngine, payments: Payments, wallet: Wallet
) -> None:
    await fund_wallet(engine, 10_000)
    id = (await wallet.pay(await make_bill(engine))).json()["id"]
    problem(await wallet.post(f"/v1/payments/{id}/refunds", {}), 404, "not-found")
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


async def test_a_payment_that_took_nothing_is_not_refundable(
    engine: AsyncEngine, payments: Payments, wallet: Wallet
) -> None:
    id = (await wallet.pay(await make_bill(engine))).json()["id"]
    await deliver(engine, payments)
    seen = (await wallet.get(f"/v1/payments/{id}")).json()
    assert (seen["status"], seen["reason"]) == ("failed", "insufficient_funds")
    said = problem(await wallet.post(f"/v1/payments/{id}/refunds", {}), 409, "not-refundable")
    assert "succeeded" in said["detail"]


async def test_a_top_up_is_promised_and_seen_by_its_channel(
    engine: AsyncEngine, payments: Payments, wallet: Wallet, stranger: Wallet
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
    engine: AsyncEngine, payments: Payments, wallet: Wallet
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


async def test_who_does_not_say_who_is_calling_is_told_how(wallet: Wallet) -> None:
    async with httpx.AsyncClient(base_url=wallet.client.base_url) as nobody:
        for path in ("/v1/payments", f"/v1/payments/{uuid7()}", "/v1/wallets/payer-1"):
            problem(await nobody.get(path), 401, "unauthorized")
