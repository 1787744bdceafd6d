"""Webhooks: a signature that the receiver can check, and no way to make us knock at inner doors."""

import hashlib
import hmac
import json
import socket
import time
from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from sqlalchemy import text

from events.ids import uuid7
from services.notifications.deliveries.outcomes import Delivered, Delivery, Later, Never
from services.notifications.recipients.addresses import Address
from services.notifications.recipients.endpoints import set_endpoint
from services.notifications.recipients.urls import check_url
from services.notifications.webhooks import HEADER, WebhookOutlet
from tests.services.notifications.recipients.test_urls import INNER
from tests.services.notifications.support import (
    ISSUED_AT,
    Hall,
    Receiver,
    Request,
    message_of,
    succeeded,
)


@pytest.fixture
async def outlet() -> AsyncIterator[WebhookOutlet]:
    """As in the sandbox: the loopback is allowed."""
    made = WebhookOutlet(0.5, allow_loopback=True)
    yield made
    await made.aclose()


@pytest.fixture
async def strict() -> AsyncIterator[WebhookOutlet]:
    """As in production: public addresses only."""
    made = WebhookOutlet(2.0)
    yield made
    await made.aclose()


def to(url: str) -> Delivery:
    return Delivery(
        id=uuid7(),
        lease=uuid7(),
        event_id=uuid7(),
        event_type="meterhall.PaymentSucceeded.v1",
        medium="webhook",
        channel="app",
        body=b'{"id": 1}',
        attempts=1,
        created_at=ISSUED_AT,
        correlation_id=None,
        traceparent=None,
        address=Address(url=url, secrets=("whsec_test",)),
    )


def verifies(request: Request, secret: str) -> bool:
    """A receiver's verification, written from the documentation alone."""
    pairs = [part.split("=", 1) for part in request.headers[HEADER].split(",")]
    [at] = [value for name, value in pairs if name == "t"]
    if abs(time.time() - int(at)) > 300:
        return False
    wanted = hmac.new(secret.encode(), f"{at}.".encode() + request.body, hashlib.sha256).hexdigest()
    return any(name == "v1" and hmac.compare_digest(value, wanted) for name, value in pairs)


async def test_the_receiver_can_verify_what_it_gets(hall: Hall, receiver: Receiver) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(message_of(succeeded(channel, "p")))
    assert await hall.sender.run_once() == 1
    [request] = receiver.requests
    assert request.headers["Content-Type"] == "application/cloudevents+json; charset=utf-8"
    assert json.loads(request.body)["type"] == "meterhall.PaymentSucceeded.v1"
    assert verifies(request, hall.secrets[channel])
    assert not verifies(request, "whsec_of_somebody_else")
    forged = Request(request.path, request.headers, request.body.replace(b"8850", b"8851"))
    assert not verifies(forged, hall.secrets[channel])


async def test_both_secrets_sign_while_one_is_changed(hall: Hall, receiver: Receiver) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    old = hall.secrets[channel]
    async with hall.engine.begin() as connection:
        new = await set_endpoint(connection, channel, f"{receiver.url}/hook", rotate=True)
    assert new
    assert new != old
    await hall.take(message_of(succeeded(channel, "p")))
    await hall.sender.run_once()
    async with hall.owner.begin() as connection:
        await connection.execute(text("UPDATE endpoints SET previous_until = now()"))
    await hall.take(message_of(succeeded(channel, "p")))
    await hall.sender.run_once()
    during, after = receiver.requests
    assert verifies(during, old)
    assert verifies(during, new)
    assert verifies(after, new)
    assert not verifies(after, old)


async def test_a_redirect_is_not_followed(outlet: WebhookOutlet, receiver: Receiver) -> None:
    async def elsewhere(_: Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"Location": "/inner"})

    receiver.answer = elsewhere
    assert await outlet.send(to(f"{receiver.url}/hook")) == Later("http_307")
    assert [each.path for each in receiver.requests] == ["/hook"]


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (200, Delivered()),
        (204, Delivered()),
        (404, Later("http_404")),
        (410, Never("http_410")),
        (429, Later("http_429")),
        (500, Later("http_500")),
    ],
)
async def test_what_an_answer_means(
    outlet: WebhookOutlet, receiver: Receiver, status: int, outcome: object
) -> None:
    async def answer(_: Request) -> web.StreamResponse:
        return web.Response(status=status)

    receiver.answer = answer
    assert await outlet.send(to(f"{receiver.url}/hook")) == outcome


async def test_silence_and_closed_doors_are_tried_later(outlet: WebhookOutlet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        assert await outlet.send(to(f"http://127.0.0.1:{port}/")) == Later("timeout")
    assert await outlet.send(to(f"http://127.0.0.1:{port}/")) == Later("no_connection")


# Names and spellings that only resolving tells.
RESOLVED = [
    "http://localhost/",
    "http://2130706433/",
    "http://0x7f000001/",
    "http://0177.0.0.1/",
    "http://127.1/",
]


@pytest.mark.parametrize("url", INNER + RESOLVED)
async def test_no_connection_is_made_to_an_address_that_is_not_public(
    strict: WebhookOutlet, url: str
) -> None:
    outcome = await strict.send(to(url))
    # Some spellings do not even resolve on every system; none may get through.
    assert outcome in {Never("address_refused"), Later("no_connection")}


async def test_the_name_of_an_inner_address_is_refused_at_the_connection(
    strict: WebhookOutlet, receiver: Receiver
) -> None:
    port = receiver.url.rsplit(":", 1)[1]
    check_url(f"http://localhost:{port}/hook", allow_loopback=False)  # a name tells nothing yet
    outcome = await strict.send(to(f"http://localhost:{port}/hook"))
    assert outcome == Never("address_refused")
    assert receiver.requests == []
