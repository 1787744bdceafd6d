"""One delivery that the database refuses to claim or to record is ended by itself; the others never notice."""

import asyncio
import json
from dataclasses import dataclass
from datetime import UTC, datetime

import pytest
import structlog
from aiohttp import web
from prometheus_client import REGISTRY
from sqlalchemy import text

from events.ids import uuid7
from services.notifications.deliveries.claim import LEASE_SECONDS
from services.notifications.deliveries.record import PAUSES_SECONDS
from services.notifications.deliveries.upkeep import tidy
from tests.services.notifications.support import (
    Hall,
    Receiver,
    Request,
    eventually,
    issued,
    message_of,
    succeeded,
)

DELIVERIES = 50
POISON = "poison-Xk3"  # the payer of the one delivery that is refused


async def test_a_correlation_id_of_9000_bytes_stops_no_channel(
    hall: Hall, receiver: Receiver
) -> None:
    bad, good = await hall.channel(f"{receiver.url}/bad"), await hall.channel(f"{receiver.url}/ok")
    await hall.take(
        message_of(succeeded(bad, "p"))._replace(correlation_id="x" * 9_000),
        message_of(succeeded(good, "p")),
    )
    assert await hall.sender.run_once() == 2
    await hall.take(message_of(succeeded(good, "p")))
    assert await hall.sender.run_once() == 1
    assert [each.status for each in await hall.deliveries()] == ["delivered"] * 3
    assert (len(receiver.at("/bad")), len(receiver.at("/ok"))) == (1, 2)
    assert len(await hall.published()) == 3


@dataclass(frozen=True)
class Refusal:
    """A constraint that refuses something of one delivery, and how that delivery has to end."""

    constraint: str
    status: str
    reason: str | None
    sent: int
    event: str | None
    label: str


REFUSALS = {
    "the event with its correlation id": Refusal(
        "ALTER TABLE outbox ADD CHECK (correlation_id <> 'of-the-poison')",
        *("delivered", None, 1, "NotificationDelivered.v1", "published"),
    ),
    "any event": Refusal(
        "ALTER TABLE outbox ADD CHECK (key <> '{id}')",
        *("delivered", None, 1, None, "unpublished"),
    ),
    "its end": Refusal(
        "ALTER TABLE deliveries ADD CHECK (id <> '{id}' OR status = 'pending')",
        *("pending", None, 1, None, "stuck"),
    ),
    "its lease": Refusal(
        "ALTER TABLE deliveries ADD CHECK (id <> '{id}' OR lease IS NULL)",
        *("failed", "unclaimable", 0, "NotificationFailed.v1", "published"),
    ),
    "everything": Refusal(
        "ALTER TABLE deliveries ADD CHECK (id <> '{id}' OR (lease IS NULL AND status = 'pending'))",
        *("pending", None, 0, None, "stuck"),
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS.keys())
async def test_one_poison_among_many_deliveries_of_three_channels(
    hall: Hall, receiver: Receiver, refusal: Refusal
) -> None:
    late = await hall.channel(f"{receiver.url}/late")
    poison = await plant(hall, receiver, refusal)
    buried = count_buried(refusal.label)
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(hall.sender.run())

        async def the_others_ended() -> bool:
            found = [each.status for each in await hall.deliveries() if each.id != poison]
            return found.count("delivered") == DELIVERIES - 1

        await eventually(the_others_ended, 20)
        # Had it been claimable again, it would be sent again now.
        await hall.later(LEASE_SECONDS + 1)
        await hall.take(message_of(succeeded(late, "p")))

        async def a_late_one_arrives() -> bool:
            return len(receiver.at("/late")) == 1

        await eventually(a_late_one_arrives, 20)
        hall.sender.stop()
        await running

    [end] = [each for each in await hall.deliveries() if each.id == poison]
    assert (end.status, end.reason) == (refusal.status, refusal.reason)
    sent = [json.loads(each.body)["data"]["payer"] for each in receiver.requests]
    assert sent.count(POISON) == refusal.sent
    assert len(sent) == DELIVERIES + refusal.sent  # 49, the late one, and the poison
    published = [(type, json.loads(payload)) for type, payload in await hall.published()]
    assert len({reported["delivery_id"] for _, reported in published} - {str(poison)}) == DELIVERIES
    about_it = [type for type, reported in published if reported["delivery_id"] == str(poison)]
    assert about_it == ([refusal.event] if refusal.event else [])
    assert count_buried(refusal.label) == buried + 1
    assert str(poison) in str(logs)
    assert not any(word in str(logs) for word in (POISON, "of-the-poison"))


async def plant(hall: Hall, receiver: Receiver, refusal: Refusal) -> object:
    """50 deliveries of three channels, one of them refused by the constraint; its id."""
    channels = [await hall.channel(f"{receiver.url}/{n}") for n in range(3)]
    messages = [message_of(succeeded(channels[n % 3], f"p{n}")) for n in range(DELIVERIES - 1)]
    poison = message_of(succeeded(channels[1], POISON))._replace(correlation_id="of-the-poison")
    await hall.take(*messages[:20], poison, *messages[20:])
    [id] = [each.id for each in await hall.deliveries() if each.payer == POISON]
    async with hall.owner.begin() as connection:
        await connection.execute(text(refusal.constraint.format(id=id)))
    return id


def count_buried(end: str) -> float:
    labels = {"medium": "webhook", "end": end}
    return REGISTRY.get_sample_value("notification_buried_total", labels) or 0.0


async def test_a_refused_delivery_that_was_not_taken_ends_as_failed(
    hall: Hall, receiver: Receiver
) -> None:
    async def gone(_: Request) -> web.StreamResponse:
        return web.Response(status=410)

    receiver.answer = gone
    channel = await hall.channel(f"{receiver.url}/hook")
    message = message_of(succeeded(channel, "p"))
    await hall.take(message._replace(correlation_id="of-the-poison"))
    async with hall.owner.begin() as connection:
        await connection.execute(text(REFUSALS["the event with its correlation id"].constraint))
    await hall.sender.run_once()
    [delivery] = await hall.deliveries()
    assert (delivery.status, delivery.reason) == ("failed", "unrecordable")
    [(type, payload)] = await hall.published()
    assert (type, json.loads(payload)["reason"]) == ("NotificationFailed.v1", "unrecordable")


async def test_a_row_from_before_there_were_bounds_is_recorded(
    hall: Hall, receiver: Receiver
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(message_of(succeeded(channel, "p")), message_of(succeeded(channel, "q")))
    async with hall.owner.begin() as connection:
        await connection.execute(text("ALTER TABLE deliveries ALTER correlation_id TYPE text"))
        await connection.execute(
            text("UPDATE deliveries SET correlation_id = repeat('x', 9000) WHERE payer = 'p'")
        )
    await hall.sender.run_once()
    assert [each.status for each in await hall.deliveries()] == ["delivered", "delivered"]
    assert len(receiver.requests) == len(await hall.published()) == 2


async def test_what_kills_each_sender_is_given_up(hall: Hall, receiver: Receiver) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(message_of(issued(channel, "p"), uuid7()))
    async with hall.owner.begin() as connection:
        # As often as the schedule allows it was claimed, and no sender lived to record it.
        await connection.execute(
            text("UPDATE deliveries SET attempts = :attempts"),
            {"attempts": len(PAUSES_SECONDS) + 1},
        )
    await hall.sender.run_once()
    [delivery] = await hall.deliveries()
    assert (delivery.status, delivery.reason) == ("failed", "attempts_exhausted")
    assert receiver.requests == []
    assert len(await hall.published()) == 1


@pytest.mark.parametrize("broken", ["outbox_ensure_partitions", "outbox_drop_partitions"])
async def test_upkeep_that_fails_keeps_no_other_from_running(
    hall: Hall, receiver: Receiver, broken: str
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(message_of(succeeded(channel, "p")))
    await hall.sender.run_once()
    async with hall.owner.begin() as connection:
        await connection.execute(text(f"DROP FUNCTION {broken}"))
    with structlog.testing.capture_logs() as logs:
        await tidy(hall.engine, kept_days=-1)  # what ended until tomorrow
    assert await hall.deliveries() == []
    assert [each["event"] for each in logs] == ["upkeep_failed"]


@pytest.mark.parametrize(
    ("broken", "mended"),
    [
        # The code is newer than the tables.
        (
            "ALTER TABLE outbox RENAME correlation_id TO another",
            "ALTER TABLE outbox RENAME another TO correlation_id",
        ),
        ("REVOKE INSERT (key) ON outbox FROM {role}", "GRANT INSERT (key) ON outbox TO {role}"),
        # A week of upkeep has failed.
        ("ALTER TABLE outbox DETACH PARTITION {today}", "SELECT outbox_ensure_partitions(1)"),
    ],
)
async def test_a_fault_of_ours_ends_no_delivery_and_sends_none_twice(
    hall: Hall, receiver: Receiver, broken: str, mended: str
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    await hall.take(*(message_of(succeeded(channel, f"p{n}")) for n in range(5)))
    names = {"role": "notifications_app", "today": f"outbox_p{datetime.now(UTC):%Y%m%d}"}
    async with hall.owner.begin() as connection:
        await connection.execute(text(broken.format(**names)))
    with structlog.testing.capture_logs() as logs:
        running = asyncio.create_task(hall.sender.run())

        async def it_backs_off() -> bool:
            return [each["event"] for each in logs].count("sender_failed") > 3

        await eventually(it_backs_off, 20)
        assert {each.status for each in await hall.deliveries()} == {"pending"}
        async with hall.owner.begin() as connection:
            if "DETACH" in broken:
                await connection.execute(text(f"DROP TABLE {names['today']}"))
            await connection.execute(text(mended.format(**names)))
        await eventually(lambda: all_delivered(hall), 20)
        hall.sender.stop()
        await running
    assert len(receiver.requests) == len(await hall.published()) == 5


async def all_delivered(hall: Hall) -> bool:
    return {each.status for each in await hall.deliveries()} == {"delivered"}
