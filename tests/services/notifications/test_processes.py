"""The service as its processes, from Kafka to the mail box and back to Kafka, with two of them killed on the way."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from sqlalchemy import text

from events.envelope import decode
from events.notifications import NotificationDelivered
from events.topics import DELIVERY_EVENTS
from tests.services.notifications.processes import Process
from tests.services.notifications.support import (
    Hall,
    Receiver,
    Record,
    eventually,
    issued,
    record_of,
    succeeded,
)
from tests.support.databases import Database

EVENTS = 300


@pytest.fixture
def processes(
    database: Database, kafka: str, hall: Hall, tmp_path: Path
) -> Iterator[dict[str, Process]]:
    """Worker, sender and relay, not started."""
    environment = {
        "METERHALL_NOTIFICATIONS_DATABASE_URL": database.notifications_url,
        "METERHALL_KAFKA": kafka,
        "METERHALL_SMTP_PORT": str(hall.mailbox.smtp_port),
        "METERHALL_WEBHOOK_ALLOW_LOOPBACK": "true",
        "METERHALL_BILLING_URL": "http://127.0.0.1:9",
        "METERHALL_PUBLIC_URL": "https://hall.example",
    }
    made = {name: Process(name, tmp_path, environment) for name in ("worker", "sender", "relay")}
    yield made
    for each in made.values():
        each.stop()
    for each in made.values():
        assert "@example.org" not in each.log(), "an address is in a log"


async def publish(kafka: str, records: list[Record]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=kafka)
    await producer.start()
    for each in records:
        await producer.send(each.topic, each.value, each.key, headers=each.headers)
    await producer.stop()


async def test_every_event_is_told_once_though_worker_and_sender_are_killed(
    hall: Hall, kafka: str, receiver: Receiver, processes: dict[str, Process]
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    payer, email = await hall.payer(channel)
    records = [record_of(issued(channel, payer)) for _ in range(EVENTS)]
    records += [record_of(succeeded(channel, payer)) for _ in range(EVENTS)]
    # Each comes twice: a relay that crashed sends its last wave again.
    await publish(kafka, records + records)

    worker, sender, relay = (processes[name] for name in ("worker", "sender", "relay"))
    for each in (worker, sender, relay):
        each.start()

    async def some_are_told() -> bool:
        return len(receiver.requests) > 20

    await eventually(some_are_told, 60)
    worker.kill()
    sender.kill()
    # What the dead sender had in its hands comes back when its lease ends: now, instead of in two minutes.
    async with hall.owner.begin() as connection:
        rows = await connection.execute(
            text(
                "UPDATE deliveries SET next_attempt_at = now() WHERE lease IS NOT NULL RETURNING id"
            )
        )
    in_hand = len(rows.all())
    assert len(await hall.deliveries()) > 20
    worker.start()
    sender.start()

    async def all_are_delivered() -> bool:
        found = await hall.deliveries()
        return len(found) == 3 * EVENTS and {each.status for each in found} == {"delivered"}

    await eventually(all_are_delivered, 60)
    ids = [json.loads(each.body)["id"] for each in receiver.requests]
    assert len(set(ids)) == 2 * EVENTS
    mails = hall.mailbox.mails(email)
    assert len({each["id"] for each in mails}) == EVENTS
    # At least once: only what was in the dead sender's hands may have come twice.
    assert len(ids) - 2 * EVENTS + len(mails) - EVENTS <= in_hand
    events = await published(kafka, channel)
    assert len(events) == 3 * EVENTS
    assert [each.stop() for each in (worker, sender, relay)] == [0, 0, 0]


async def published(kafka: str, channel: str) -> list[NotificationDelivered]:
    """Return the records in Kafka about this channel's deliveries, once all have arrived."""
    consumer = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False)
    await consumer.start()
    partitions = [
        TopicPartition(DELIVERY_EVENTS.name, n) for n in range(DELIVERY_EVENTS.partitions)
    ]
    consumer.assign(partitions)
    await consumer.seek_to_beginning(*partitions)
    found: dict[object, NotificationDelivered] = {}

    async def all_there() -> bool:
        for records in (await consumer.getmany(timeout_ms=200)).values():
            for each in records:
                event = decode(each.topic, each.key, each.value, each.headers).event
                if isinstance(event, NotificationDelivered) and event.channel == channel:
                    found[event.delivery_id] = event
        return len(found) >= 3 * EVENTS

    await eventually(all_there, 60)
    await consumer.stop()
    return list(found.values())
