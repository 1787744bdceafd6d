"""Consumers for tests: valid records, a handler that records its calls, and a group's committed offsets."""

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any

from kafka import KafkaAdminClient
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from messaging.consumer import Buried, Message, Rejected
from messaging.consumer.batches import BatchConsumer
from messaging.consumer.broker import make_broker, subscribe
from messaging.control import DeadLetter, read_dead_letters
from messaging.relay import Relay
from tests.messaging.conftest import Lane
from tests.messaging.witness import as_json, publish_all
from tests.support.databases import Database


def valid_record(lane: Lane, number: int, key: str = "k", partition: int = 0) -> dict[str, Any]:
    """Return a record that conforms to the contract."""
    return {
        "key": key.encode(),
        "value": as_json({"name": key, "number": number}),
        "partition": partition,
        "headers": [("ce_id", str(uuid7()).encode()), ("ce_type", lane.ce_type.encode())],
    }


class RecordingHandler:
    """A handler that records the numbers of its messages, after calling `before` with each."""

    def __init__(self, before: Callable[[Message], None] = lambda message: None) -> None:
        self.numbers: list[int] = []
        self.batches = 0
        self._before = before

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Rejected]:
        self.batches += 1
        for message in messages:
            self._before(message)
        self.numbers += [message.event.number for message in messages]  # type: ignore[attr-defined]
        return []


@asynccontextmanager
async def consuming(  # noqa: PLR0917
    lane: Lane,
    kafka: str,
    engine: AsyncEngine,
    handler: Any,
    max_records: int = 500,
    buried: Buried | None = None,
) -> AsyncIterator[BatchConsumer]:
    broker = make_broker(kafka, f"test-{uuid.uuid4().hex[:6]}")
    batches = subscribe(
        broker, lane.topic, lane.group, handler, engine, max_records=max_records, buried=buried
    )
    await broker.start()
    try:
        yield batches
    finally:
        await broker.stop()


async def committed_count(kafka: str, lane: Lane) -> int:
    """Return the number of records that the group has finished, from its committed offsets."""

    def sum_offsets() -> int:
        client = KafkaAdminClient(bootstrap_servers=kafka)
        try:
            offsets = client.list_group_offsets([lane.group])[lane.group]
        finally:
            client.close()
        return sum(at.offset for at in offsets.values() if at.offset > 0)

    return await asyncio.to_thread(sum_offsets)


def has_committed(kafka: str, lane: Lane, count: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await committed_count(kafka, lane) == count

    return check


async def published_dead_letters(database: Database, kafka: str, lane: Lane) -> list[DeadLetter]:
    """Publish the outbox and return the dead letters in Kafka."""
    relay = Relay(database.billing_url, "billing", kafka)
    await publish_all(relay)
    await relay.close()
    return read_dead_letters(kafka, lane.topic.name)
