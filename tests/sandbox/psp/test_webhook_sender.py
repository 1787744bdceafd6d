"""Events on their way to us: signed, sent again until they are taken, and late, twice or out of order on request."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web

from services.billing.psp import BadSignature, verify_webhook
from tests.sandbox.psp.conftest import Api
from tests.support.psp import SandboxPsp


class Receiver:
    """Takes webhooks over TCP; answers what `statuses` says, then 200."""

    def __init__(self) -> None:
        self.url = ""
        self.statuses: list[int] = []
        self.came: list[tuple[bytes, str]] = []
        self._news = asyncio.Event()

    async def take(self, request: web.Request) -> web.Response:
        self.came.append((await request.read(), request.headers["Stripe-Signature"]))
        self._news.set()
        status = self.statuses.pop(0) if self.statuses else 200
        return web.Response(status=status, headers={"Location": self.url})

    async def until(self, enough: Callable[[], bool]) -> None:
        """Wait until what came is enough."""
        async with asyncio.timeout(20):
            while not enough():
                self._news.clear()
                await self._news.wait()

    def events(self, secret: str) -> list[dict[str, Any]]:
        """Return the received events, verified."""
        now = time.time()
        return [verify_webhook(body, header, secret, now) for body, header in self.came]


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    made = Receiver()
    app = web.Application()
    app.router.add_post("/hooks", made.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    made.url = f"http://{host}:{port}/hooks"
    yield made
    await runner.cleanup()


async def test_an_event_tells_of_its_object_and_is_signed(
    own_psp: SandboxPsp, own_api: Api, receiver: Receiver
) -> None:
    own_psp.set_webhooks(url=receiver.url)
    paid = await own_api.pay(**{"metadata[charge_id]": "ours"})
    await own_api.post("/v1/refunds", {"payment_intent": paid["id"], "amount": "50"})
    await receiver.until(lambda: len(receiver.came) >= 3)
    events = {event["type"]: event for event in receiver.events(own_psp.webhook_secret)}
    assert set(events) == {"payment_intent.succeeded", "refund.created", "charge.refunded"}
    reported = events["payment_intent.succeeded"]
    assert reported["data"]["object"] == paid
    assert await own_api.get(f"/v1/events/{reported['id']}") == reported
    with pytest.raises(BadSignature):
        receiver.events("whsec_other")


@pytest.mark.parametrize("type", ["refund.failed", "refund.updated", "charge.refund.updated"])
async def test_a_refund_that_fails_late_is_told_in_each_of_stripes_ways(
    own_psp: SandboxPsp, own_api: Api, receiver: Receiver, type: str
) -> None:
    paid = await own_api.pay()
    refund = (await own_api.post("/v1/refunds", {"payment_intent": paid["id"]})).json()
    own_psp.set_webhooks(url=receiver.url)
    own_psp.settle_refund(refund["id"], "failed", event=type)
    await receiver.until(
        lambda: any(type == event["type"] for event in receiver.events(own_psp.webhook_secret))
    )
    [expected] = [
        event for event in receiver.events(own_psp.webhook_secret) if event["type"] == type
    ]
    assert expected["data"]["object"]["id"] == refund["id"]
    assert expected["data"]["object"]["status"] == "failed"


async def test_what_is_not_taken_is_sent_again(
    own_psp: SandboxPsp, own_api: Api, receiver: Receiver
) -> None:
    own_psp.set_webhooks(url=receiver.url)
    receiver.statuses = [500, 404, 302]
    for _ in range(2):
        await own_api.pay()
    # Three tries of the two events come to nothing.
    await receiver.until(lambda: len(receiver.came) >= 5)
    ids = [event["id"] for event in receiver.events(own_psp.webhook_secret)]
    assert (len(set(ids)), len(ids)) == (2, 5)


async def test_twice_and_late(own_psp: SandboxPsp, own_api: Api, receiver: Receiver) -> None:
    own_psp.set_webhooks(url=receiver.url, duplicates=2, delay_seconds=0.5)
    began = time.monotonic()
    await own_api.pay()
    await receiver.until(lambda: len(receiver.came) >= 3)
    assert time.monotonic() - began >= 0.4
    assert len({event["id"] for event in receiver.events(own_psp.webhook_secret)}) == 1


async def test_out_of_order(own_psp: SandboxPsp, own_api: Api, receiver: Receiver) -> None:
    own_psp.set_webhooks(url=receiver.url, shuffle_seconds=0.5)
    for _ in range(12):
        await own_api.pay()
    await receiver.until(lambda: len(receiver.came) >= 12)
    came = [event["id"] for event in receiver.events(own_psp.webhook_secret)]
    happened = [event["id"] for event in (await own_api.get("/v1/events", limit="100"))["data"]]
    assert came != sorted(came)
    assert sorted(came) == sorted(happened)


async def test_during_a_roll_both_secrets_sign(
    own_psp: SandboxPsp, own_api: Api, receiver: Receiver
) -> None:
    own_psp.set_webhooks(url=receiver.url, secrets=["whsec_next"])
    await own_api.pay()
    await receiver.until(lambda: len(receiver.came) >= 1)
    assert receiver.events(own_psp.webhook_secret) == receiver.events("whsec_next")
    assert "whsec_next" not in str(own_psp.webhooks())


async def test_what_was_queued_survives_a_crash(
    own_psp: SandboxPsp, own_api: Api, receiver: Receiver
) -> None:
    own_psp.set_webhooks(url=receiver.url, paused=True)
    await own_api.pay()
    own_psp.kill()
    own_psp.start()
    assert own_psp.webhooks()["pending"] == 1
    assert not receiver.came
    tried = await own_api.http.post("/sandbox/webhooks/deliver")
    assert tried.json() == {"tried": 1}
    [event] = receiver.events(own_psp.webhook_secret)
    resent = await own_api.http.post("/sandbox/webhooks/resend", json={"event_id": event["id"]})
    assert resent.json()["pending"] == 1
    own_psp.set_webhooks(url=receiver.url)
    await receiver.until(lambda: len(receiver.came) >= 2)
    assert receiver.events(own_psp.webhook_secret)[1] == event


async def test_a_receiver_that_is_away_gets_it_later(
    own_psp: SandboxPsp, own_api: Api, receiver: Receiver
) -> None:
    own_psp.set_webhooks(url="http://127.0.0.1:9/hooks")
    await own_api.pay()
    assert own_psp.webhooks()["delivered"] == 0
    own_psp.set_webhooks(url=receiver.url)
    await receiver.until(lambda: len(receiver.came) >= 1)
    [event] = receiver.events(own_psp.webhook_secret)
    assert event["type"] == "payment_intent.succeeded"
