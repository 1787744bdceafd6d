"""Sending: once, again when it must be, given up when it should be, and never held up by somebody else's trouble."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from sqlalchemy import text

from events.ids import uuid7
from services.notifications.deliveries.claim import LEASE_SECONDS, claim
from services.notifications.deliveries.follow import forget_old, list_deliveries, retry
from services.notifications.deliveries.outcomes import Delivered
from services.notifications.deliveries.record import PAUSES_SECONDS, Attempt, record
from tests.services.notifications.support import (
    Hall,
    Receiver,
    Request,
    eventually,
    issued,
    message_of,
    succeeded,
)


async def test_mail_and_webhook_arrive_once_and_are_published(
    hall: Hall, receiver: Receiver
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    payer, email = await hall.payer(channel)
    message = message_of(issued(channel, payer))
    await hall.take(message, message)
    assert await hall.sender.run_once() == 2
    await hall.take(message)
    assert await hall.sender.run_once() == 0
    [mail] = hall.mailbox.mails(email)
    assert mail["subject"] == "Receipt: CN¥88.50 to hz-water"
    [request] = receiver.requests
    assert json.loads(request.body)["id"] == str(message.id)
    published = await hall.published()
    assert [type for type, _ in published] == ["NotificationDelivered.v1"] * 2
    output = [json.loads(payload) for _, payload in published]
    assert {each["medium"] for each in output} == {"mail", "webhook"}
    assert all(each["event_id"] == str(message.id) and each["attempts"] == 1 for each in output)
    assert email not in str(published)


async def test_two_senders_at_once_send_everything_once(hall: Hall, receiver: Receiver) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    payer, email = await hall.payer(channel)
    await hall.take(*(message_of(issued(channel, payer)) for _ in range(200)))
    senders = [hall.new_sender() for _ in range(3)]
    tried = 0
    while batch := sum(await asyncio.gather(*(each.run_once() for each in senders))):
        tried += batch
    assert tried == 400
    assert len(hall.mailbox.mails(email)) == 200
    ids = [json.loads(each.body)["id"] for each in receiver.requests]
    assert len(ids) == len(set(ids)) == 200
    assert {each.status for each in await hall.deliveries()} == {"delivered"}


async def test_a_refusal_for_now_is_tried_again_with_growing_pauses(hall: Hall) -> None:
    channel = await hall.channel()
    payer, email = await hall.payer(channel)
    hall.mailbox.fail("refuse_4xx", times=3, recipient=email)
    await hall.take(message_of(issued(channel, payer)))
    for attempt in (1, 2, 3):
        assert await hall.sender.run_once() == 1
        [delivery] = await hall.deliveries()
        assert (delivery.status, delivery.attempts, delivery.reason) == (
            "pending",
            attempt,
            "smtp_450",
        )
        pause = PAUSES_SECONDS[attempt - 1]
        assert 0.75 * pause <= delivery.wait_seconds <= 1.25 * pause
        assert await hall.sender.run_once() == 0  # not yet
        await hall.later(0.7 * pause)
        assert await hall.sender.run_once() == 0  # and not yet
        await hall.later(0.6 * pause)
    assert await hall.sender.run_once() == 1
    [delivery] = await hall.deliveries()
    assert (delivery.status, delivery.attempts) == ("delivered", 4)
    assert len(hall.mailbox.mails(email)) == 1


async def test_a_refusal_for_good_is_final_visible_and_can_be_sent_again(hall: Hall) -> None:
    channel = await hall.channel()
    payer, email = await hall.payer(channel)
    hall.mailbox.fail("refuse_5xx", recipient=email)
    await hall.take(message_of(issued(channel, payer)))
    assert await hall.sender.run_once() == 1
    await hall.later(10 * 86_400)
    assert await hall.sender.run_once() == 0
    async with hall.engine.begin() as connection:
        [visible] = await list_deliveries(connection, limit=10, channel=channel, status="failed")
        assert visible.reason == "smtp_550"
        assert await retry(connection, visible.id)
        assert not await retry(connection, visible.id)  # it is not failed any more
    assert await hall.sender.run_once() == 1
    assert len(hall.mailbox.mails(email)) == 1
    assert [type for type, _ in await hall.published()] == [
        "NotificationFailed.v1",
        "NotificationDelivered.v1",
    ]
    async with hall.engine.connect() as connection:
        assert list(await connection.scalars(text("SELECT sequence FROM outbox ORDER BY id"))) == [
            1,
            2,
        ]


async def test_what_never_works_is_given_up_after_the_whole_schedule(
    hall: Hall, receiver: Receiver
) -> None:
    async def broken(_: Request) -> web.StreamResponse:
        return web.Response(status=503)

    receiver.answer = broken
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(message_of(succeeded(channel, "p")))
    waited = 0.0
    for _ in PAUSES_SECONDS:
        assert await hall.sender.run_once() == 1
        [delivery] = await hall.deliveries()
        assert delivery.status == "pending"
        waited += delivery.wait_seconds
        await hall.later(delivery.wait_seconds + 1)
    assert await hall.sender.run_once() == 1
    [delivery] = await hall.deliveries()
    assert (delivery.status, delivery.reason) == ("failed", "http_503")
    assert len(receiver.requests) == len(PAUSES_SECONDS) + 1
    assert 2 * 86_400 < waited < 3.5 * 86_400
    [(type, payload)] = await hall.published()
    assert type == "NotificationFailed.v1"
    assert json.loads(payload)["reason"] == "http_503"


async def test_a_lost_connection_is_tried_again_with_the_same_message_id(hall: Hall) -> None:
    channel = await hall.channel()
    payer, email = await hall.payer(channel)
    await hall.take(message_of(issued(channel, payer)))
    hall.mailbox.fail("drop_before", recipient=email)
    hall.mailbox.fail("drop_after", recipient=email)
    for pause in (0.0, *PAUSES_SECONDS[:2]):
        await hall.later(2 * pause)
        assert await hall.sender.run_once() == 1
    [delivery] = await hall.deliveries()
    assert (delivery.status, delivery.attempts) == ("delivered", 3)
    # Nobody can know that the second attempt was kept: two copies, which a mailbox can tell to be one mail.
    first, second = hall.mailbox.mails(email)
    assert first["id"] == second["id"] == f"<{delivery.id}@meterhall.example>"
    assert (first["body"], first["html"]) == (second["body"], second["html"])


async def test_mail_waits_for_a_mail_server_that_is_away(hall: Hall) -> None:
    channel = await hall.channel()
    payer, email = await hall.payer(channel)
    await hall.take(message_of(issued(channel, payer)))
    hall.mailbox.kill()
    try:
        assert await hall.sender.run_once() == 1
    finally:
        hall.mailbox.start()
    [delivery] = await hall.deliveries()
    assert (delivery.status, delivery.reason) == ("pending", "no_connection")
    await hall.later(10)
    assert await hall.sender.run_once() == 1
    assert len(hall.mailbox.mails(email)) == 1


@pytest.mark.alone
async def test_a_hanging_endpoint_holds_up_nobody_else(hall: Hall, receiver: Receiver) -> None:
    let_go = asyncio.Event()

    async def answer(request: Request) -> web.StreamResponse:
        if request.path == "/hangs":
            await let_go.wait()
        return web.Response()

    receiver.answer = answer
    bad = await hall.channel(f"{receiver.url}/hangs")
    good = await hall.channel(f"{receiver.url}/fine")
    payer, email = await hall.payer(bad)
    # The bad endpoint's are older and more than its places.
    await hall.take(*(message_of(succeeded(bad, "p")) for _ in range(100)))
    await hall.take(
        message_of(issued(bad, payer)), *(message_of(succeeded(good, "p")) for _ in range(100))
    )
    running = asyncio.create_task(hall.sender.run())

    async def the_others_are_told() -> bool:
        return len(receiver.at("/fine")) == 100 and len(hall.mailbox.mails(email)) == 1

    began = time.monotonic()
    await eventually(the_others_are_told, 4.0)
    assert time.monotonic() - began < 4.0  # below the timeout of a hanging request
    assert len(receiver.at("/hangs")) == 16  # its places, and no more
    let_go.set()
    await eventually(lambda: _all_delivered(hall))
    hall.sender.stop()
    await running


async def _all_delivered(hall: Hall) -> bool:
    return {each.status for each in await hall.deliveries()} == {"delivered"}


async def test_what_a_dead_sender_had_claimed_is_sent_when_its_lease_ends(
    hall: Hall, receiver: Receiver
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(message_of(succeeded(channel, "p")))
    async with hall.engine.begin() as connection:
        [lost] = await claim(connection, {("webhook", channel): 1})  # and then it died
    assert await hall.sender.run_once() == 0
    await hall.later(LEASE_SECONDS + 1)
    assert await hall.sender.run_once() == 1
    # It was not dead but slow: what it tells now does not count.
    async with hall.engine.begin() as connection:
        assert await record(connection, [Attempt(lost, Delivered())]) == 0
    [delivery] = await hall.deliveries()
    assert (delivery.status, delivery.attempts, delivery.version) == ("delivered", 2, 1)
    assert len(await hall.published()) == 1


async def test_a_recipient_who_is_gone_gets_nothing(hall: Hall) -> None:
    channel = await hall.channel()
    payer, email = await hall.payer(channel)
    await hall.take(message_of(issued(channel, payer)))
    async with hall.engine.begin() as connection:
        await connection.execute(text("DELETE FROM recipients"))
    assert await hall.sender.run_once() == 1
    [delivery] = await hall.deliveries()
    assert (delivery.status, delivery.reason) == ("failed", "no_recipient")
    assert hall.mailbox.mails(email) == []


async def test_stopping_ends_what_has_begun(hall: Hall, receiver: Receiver) -> None:
    reached = asyncio.Event()

    async def slow(_: Request) -> web.StreamResponse:
        reached.set()
        await asyncio.sleep(0.3)
        return web.Response()

    receiver.answer = slow
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(message_of(succeeded(channel, "p")))
    running = asyncio.create_task(hall.sender.run())
    await asyncio.wait_for(reached.wait(), 10)
    hall.sender.stop()
    await running
    [delivery] = await hall.deliveries()
    assert delivery.status == "delivered"


async def test_old_deliveries_are_forgotten_once_they_have_ended(
    hall: Hall, receiver: Receiver
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(message_of(succeeded(channel, "p"), uuid7()))
    assert await hall.sender.run_once() == 1
    await hall.take(message_of(succeeded(channel, "p"), uuid7()))
    async with hall.engine.begin() as connection:
        now = datetime.now(UTC)
        assert await forget_old(connection, now, kept_days=30) == 0
        assert await forget_old(connection, now + timedelta(days=31), kept_days=30) == 1
    [left] = await hall.deliveries()
    assert left.status == "pending"
