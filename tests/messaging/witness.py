"""kafka-python as an independent reader of the records that aiokafka wrote, and helpers that wait for a condition."""

import asyncio
import json
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from events.topics import Topic
from messaging.outbox import Outgoing, enqueue
from messaging.relay import Relay


def read_all(bootstrap: str, topic: str) -> list[Any]:
    """Return all records that the topic holds now, each partition's in order."""
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        at = [TopicPartition(topic, number) for number in consumer.partitions_for_topic(topic)]
        consumer.assign(at)
        consumer.seek_to_beginning(*at)
        ends = consumer.end_offsets(at)
        all_records: list[Any] = []
        deadline = time.monotonic() + 60
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            assert time.monotonic() < deadline, "the topic could not be read to its end"
            for records in consumer.poll(timeout_ms=200).values():
                all_records += records
        return all_records
    finally:
        consumer.close()


def produce(
    bootstrap: str, topic: str, records: Iterable[dict[str, Any]], **settings: Any
) -> list[Any]:
    """Produce raw records, invalid ones too; return the metadata of each. `settings` are the producer's."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", **settings)
    try:
        return [each.get(20) for each in [producer.send(topic, **record) for record in records]]
    finally:
        producer.close()


def message(topic: Topic, key: str, sequence: int, payload: bytes = b"{}") -> Outgoing:
    return Outgoing(uuid7(), topic, key, sequence, "Tested.v1", payload)


def sequences_by_key(records: Sequence[Any]) -> dict[str, list[int]]:
    """Return the sequence numbers of each key in the order of the records, without repeated ids."""
    seen: set[bytes] = set()
    by_key: dict[str, list[int]] = defaultdict(list)
    for record in records:
        headers = dict(record.headers)
        if headers["ce_id"] not in seen:
            seen.add(headers["ce_id"])
            by_key[record.key.decode()].append(int(headers["ce_sequence"]))
    return by_key


async def wait_until(
    condition: Callable[[], Awaitable[bool]], what: str, seconds: float = 30.0
) -> None:
    """Wait until the condition holds; fail after `seconds`. `what` describes the condition."""
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        await asyncio.sleep(0.02)


async def count_unpublished(engine: AsyncEngine) -> int:
    """Return the number of outbox rows that the cursor does not count as published."""
    async with engine.connect() as connection:
        return int(
            await connection.scalar(
                text("""
                    SELECT count(*) FROM outbox, outbox_cursor AS at
                    WHERE NOT pg_visible_in_snapshot(xid, prev)
                    AND NOT (id <= last_id AND coalesce(pg_visible_in_snapshot(xid, cur), false))
                """)
            )
            or 0
        )


async def leader_pid(engine: AsyncEngine) -> int | None:
    """Return the process id of the leading relay's PostgreSQL session, or None."""
    async with engine.connect() as connection:
        pid = await connection.scalar(
            text("""
                SELECT pid FROM pg_locks WHERE locktype = 'advisory' AND granted
                AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            """)
        )
        return None if pid is None else int(pid)


def as_json(value: Any) -> bytes:
    return json.dumps(value).encode()


async def enqueue_all(
    engine: AsyncEngine, topic: Topic, key: str, count: int, first: int = 1
) -> None:
    async with engine.begin() as connection:
        await enqueue(connection, [message(topic, key, first + number) for number in range(count)])


async def publish_all(relay: Relay) -> int:
    """Publish wave after wave until the outbox is empty; return the number of messages."""
    total = 0
    while sent := await relay.run_once():
        total += sent
    return total
