"""The PSP's webhooks: signed, fresh, kept once, in any order; a hint to look, and never believed."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from tests.services.billing.door.web import serve
from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.support.factories import pay_bill

SECRET = "whsec_of_this_test"
ASKS = "pm_card_authenticationRequired"


@pytest.fixture
async def door(engine: AsyncEngine) -> AsyncIterator[httpx.AsyncClient]:
    async with serve(engine, SECRET) as url, httpx.AsyncClient(base_url=url) as client:
        yield client


def event(type: str = "payment_intent.succeeded", **metadata: str) -> dict[str, Any]:
    thing = {"id": "pi_1", "object": "payment_intent", "metadata": metadata}
    return {"id": f"evt_{uuid4().hex}", "type": type, "data": {"object": thing}}


async def send(
    door: httpx.AsyncClient,
    what: object,
    *,
    at: float | None = None,
    secret: str = SECRET,
    tamper: bytes = b"",
) -> httpx.Response:
    body = json.dumps(what).encode()
    signed_at = int(time.time() if at is None else at)
    digest = hmac.new(secret.encode(), f"{signed_at}.".encode() + body, hashlib.sha256).hexdigest()
    return await door.post(
        "/v1/psp/webhooks",
        content=body + tamper,
        headers={"Stripe-Signature": f"t={signed_at},v1={digest}"},
    )


async def due(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        found = await connection.scalar(text("SELECT count(*) FROM errands WHERE due_at <= now()"))
        return int(found or 0)


@pytest.mark.parametrize(
    "trouble",
    [
        {"secret": "whsec_other"},
        {"at": time.time() - 330},
        {"at": time.time() + 3_600},
        {"tamper": b" "},
    ],
    ids=["another secret", "too old", "from the future", "changed on its way"],
)
async def test_unsigned_stale_or_altered_webhooks_are_refused(
    door: httpx.AsyncClient, engine: AsyncEngine, trouble: dict[str, Any]
) -> None:
    answer = await send(door, event(), **trouble)
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "/problems/bad-signature"
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM psp_webhooks")) == 0


async def test_without_a_signature_it_is_refused(door: httpx.AsyncClient) -> None:
    assert (await door.post("/v1/psp/webhooks", content=b"{}")).status_code == 400


async def test_duplicate_webhooks_are_stored_once(
    door: httpx.AsyncClient, engine: AsyncEngine
) -> None:
    one = event()
    answers = await asyncio.gather(*(send(door, one) for _ in range(8)))
    assert {each.status_code for each in answers} == {200}
    assert sorted(each.json()["received"] for each in answers) == ["before"] * 7 + ["now"]
    async with engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM psp_webhooks")) == 1


@pytest.mark.parametrize(
    "what",
    [
        event(charge_id="not-a-uuid", kind="payment"),
        event(charge_id=str(uuid4()), kind="payment"),
        event(charge_id=str(uuid4()), kind="somebody's"),
        event(charge_id=str(uuid4())),
        event(refund_id=""),
        {"id": "evt_1"},
        {"id": "evt_1", "data": None},
        {"id": "evt_1", "data": {"object": "pi_1"}},
        {"id": "evt_1", "data": {"object": {"metadata": ["charge_id"]}}},
        {"id": "evt_1", "data": {"object": {"metadata": {"charge_id": 7}}}},
    ],
    ids=[
        "not an id",
        "nobody's charge",
        "a kind that we don't have",
        "no kind",
        "an empty id",
        "no data",
        "data is null",
        "object is a string",
        "metadata is a list",
        "the id is a number",
    ],
)
async def test_what_is_about_somebody_elses_money_is_kept_and_left(
    door: httpx.AsyncClient, what: dict[str, Any]
) -> None:
    assert (await send(door, what)).status_code == 200


@pytest.mark.parametrize("id", ["", "evt 1", "evt_\0", "evt_\ud800", "x" * 256, 7, None])
async def test_an_event_without_an_id_that_can_be_kept_is_refused(
    door: httpx.AsyncClient, id: object
) -> None:
    """The id is what makes an event count once, so it is neither cut nor changed."""
    answer = await send(door, {**event(), "id": id})
    assert answer.status_code == 400
    assert answer.json()["type"] == "/problems/bad-signature"


@pytest.mark.parametrize("hostile", ["a\0b", "a\ud800b", "x" * 30_000, ["x"], None, {"a": 1}])
async def test_whatever_else_an_event_says_it_is_kept_and_its_payment_is_due(
    city: City, door: httpx.AsyncClient, hostile: object
) -> None:
    row = await city.pay(pay_bill(await city.bill(), method=ASKS))
    what = event(charge_id=str(row["id"]), kind="payment")
    what["type"] = what["data"]["object"]["id"] = hostile
    assert (await send(door, what)).status_code == 200
    assert await due(city.engine) == 1


async def test_a_confirmed_payment_is_looked_at_at_once(
    city: City, door: httpx.AsyncClient
) -> None:
    row = await city.pay(pay_bill(await city.bill(), method=ASKS))
    city.psp.decide(row["action_url"], "approve")
    assert await city.payments.resume() == 0, "not due for a while"
    about = {"charge_id": str(row["id"]), "kind": "payment"}
    # About a top-up of the same id: it is another thing.
    await send(door, event(**{**about, "kind": "top_up"}))
    assert await due(city.engine) == 0
    # Out of order, and saying something that is not so: a webhook is a hint.
    for type in ("payment_intent.canceled", "payment_intent.succeeded"):
        await send(door, event(type, **about))
    assert await due(city.engine) == 1
    assert await city.payments.resume() == 1
    await city.payments.drain()
    await city.agree(row["id"])
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    # After the end nothing becomes due any more.
    await send(door, event("payment_intent.payment_failed", **about))
    assert await due(city.engine) == 0


async def test_a_payment_that_its_worker_has_in_hand_is_left_to_it(
    city: City, door: httpx.AsyncClient
) -> None:
    """The PSP's own echo of our calls must not send a second process after every payment."""
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    about = {"charge_id": str(payment.id), "kind": "payment"}
    await send(door, event("payment_intent.amount_capturable_updated", **about))
    assert await due(city.engine) == 0


async def test_the_sandboxs_own_webhooks_are_believed(city: City, engine: AsyncEngine) -> None:
    """Signed by the PSP itself, duplicated and shuffled."""
    async with serve(engine, city.psp.webhook_secret) as url:
        city.psp.set_webhooks(
            url=f"{url}/v1/psp/webhooks", duplicates=2, delay_seconds=0, shuffle_seconds=0.2
        )
        try:
            row = await city.pay(pay_bill(await city.bill(), method=ASKS))
            city.psp.decide(row["action_url"], "approve")
            for _ in range(300):
                if await due(engine):
                    break
                await asyncio.sleep(0.02)
            await city.payments.resume()
            await city.payments.drain()
            await city.agree(row["id"])
            assert (await books.payment(engine, row["id"]))["state"] == "succeeded"
        finally:
            city.psp.set_webhooks(url=None)
