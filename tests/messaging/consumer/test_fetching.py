"""What producers of other languages send: compressed records, transactions, and what can't be fetched at all."""

import struct
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import crc32c
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.errors import TopicAuthorizationFailedError
from aiokafka.producer.message_accumulator import BatchBuilder
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.consumer import fetching, metrics
from messaging.consumer.batches import ATTEMPTS, BatchConsumer
from messaging.control import read_dead_letters
from tests.messaging.conftest import Lane
from tests.messaging.consumer.consuming import Handled, commits, consuming, good, letters
from tests.messaging.witness import read_all, until, write
from tests.support.databases import Database

CODECS = ["gzip", "snappy", "lz4", "zstd"]


def handles(handler: Handled, *numbers: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return sorted(handler.numbers) == sorted(numbers)

    return check


def recovered(batches: BatchConsumer) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await batches.progress() is None

    return check


@pytest.mark.parametrize("codec", CODECS)
async def test_records_are_taken_whatever_they_are_compressed_with(
    lane: Lane, kafka: str, engine: AsyncEngine, codec: str
) -> None:
    """Larger than a block of each codec, from aiokafka and kafka-python, read by both."""
    numbers = range(300)
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, compression_type=codec, max_batch_size=1_000_000, linger_ms=200
    ) as producer:
        sent = [await producer.send(lane.topic.name, **good(lane, each)) for each in numbers]
        for each in sent:
            await each
    write(kafka, lane.topic.name, [good(lane, 300, "k" * 5_000, 1)], compression_type=codec)
    handler = Handled()
    async with consuming(lane, kafka, engine, handler):
        await until(handles(handler, *range(301)), "all are handled")
    assert len(read_all(kafka, lane.topic.name)) == 301
    write(kafka, lane.dead_letters.name, [{"value": b"x" * 10_000}], compression_type=codec)
    assert read_dead_letters(kafka, lane.topic.name) == [], "nobody's letter is read over"


async def test_what_a_producer_takes_back_is_not_carried_out(
    lane: Lane, kafka: str, engine: AsyncEngine
) -> None:
    handler = Handled()
    async with (
        consuming(lane, kafka, engine, handler),
        AIOKafkaProducer(
            bootstrap_servers=kafka, transactional_id=f"wallet-{uuid.uuid4()}"
        ) as producer,
    ):
        await producer.begin_transaction()
        await producer.send_and_wait(lane.topic.name, **good(lane, 1))
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(lane.topic.name, **good(lane, 2))
        write(kafka, lane.topic.name, [good(lane, 3), good(lane, 4, partition=1)])
        await until(handles(handler, 2, 3, 4), "what was committed is handled")


async def test_a_record_that_can_not_be_read_is_buried_and_holds_up_nobody(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    """The name of a header that is not UTF-8: Kafka takes it, and its client can't read the record."""
    write(kafka, lane.topic.name, [good(lane, 1)])
    for _ in range(3):
        await _send_unreadable(kafka, lane)
    write(
        kafka,
        lane.topic.name,
        [good(lane, 2), good(lane, 3, partition=1), good(lane, 4, partition=2)],
    )
    await _send_unreadable(kafka, lane)
    failures = metrics.FAILURES.labels(lane.topic.name, lane.group, "UnicodeDecodeError")
    handler = Handled()
    async with consuming(lane, kafka, engine, handler):
        await until(handles(handler, 1, 2, 3, 4), "what can be read is handled")
        await until(commits(kafka, lane, 8), "all offsets are committed")
    assert failures._value.get() >= 4 * ATTEMPTS
    dead = sorted(await letters(database, kafka, lane), key=lambda each: each.offset)
    assert [(each.partition, each.offset) for each in dead] == [(0, 1), (0, 2), (0, 3), (0, 5)]
    for each in dead:
        assert (each.reason, each.attempts) == ("unreadable", ATTEMPTS)
        assert (each.key, each.value, each.omitted) == (None, None, ["key", "value", "headers"])


async def test_what_another_try_may_read_is_never_passed_over(
    lane: Lane, kafka: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec that is not installed: the other partitions go on, the process says what is wrong, nothing is lost."""
    monkeypatch.setattr(fetching, "UNFETCHABLE_SECONDS", 1.0)
    handler = Handled()
    with monkeypatch.context() as away:
        away.setattr("aiokafka.codec.cramjam", None)
        # So long that it pays to compress it.
        write(kafka, lane.topic.name, [good(lane, 1, "k" * 5_000)], compression_type="zstd")
        async with consuming(lane, kafka, engine, handler) as batches:
            assert await batches.progress() is None
            for number in range(10, 20):
                write(kafka, lane.topic.name, [good(lane, number, partition=1)])
                await until(handles(handler, *range(10, number + 1)), "another partition goes on")

            async def told() -> bool:
                said = await batches.progress()
                return said is not None and f"{lane.topic.name}/0 from offset 0" in said

            await until(told, "the process says that it is not ready")
            away.undo()
            await until(handles(handler, 1, *range(10, 20)), "it is read when it can be")
            await until(recovered(batches), "the process is ready again")


async def test_a_topic_that_can_not_be_fetched_at_all_is_seen(
    lane: Lane, kafka: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What Kafka answers when the right to read is taken away; this broker gives everybody every right."""
    monkeypatch.setattr(fetching, "UNFETCHABLE_SECONDS", 0.5)
    handler = Handled()
    write(kafka, lane.topic.name, [good(lane, 1)])

    async def refused(*_: Any, **__: Any) -> Any:
        raise TopicAuthorizationFailedError(lane.topic.name)

    async with consuming(lane, kafka, engine, handler) as batches:
        await until(handles(handler, 1), "it works")
        with monkeypatch.context() as taken:
            taken.setattr(batches.subscriber.consumer, "getmany", refused)

            async def told() -> bool:
                said = await batches.progress()
                return said is not None and "TopicAuthorizationFailedError" in said

            await until(told, "the process says that it is not ready")
        write(kafka, lane.topic.name, [good(lane, 2)])
        await until(handles(handler, 1, 2), "it goes on")
        await until(recovered(batches), "the process is ready again")


async def _send_unreadable(kafka: str, lane: Lane) -> None:
    builder = BatchBuilder(16_000, 0)
    builder.append(timestamp=1_700_000_000_000, key=b"k", value=b"{}", headers=[("ab", b"x")])
    batch = bytes(builder._build())
    assert batch.count(b"ab") == 1
    torn = bytearray(batch.replace(b"ab", b"\xff\xfe"))
    torn[17:21] = struct.pack(">I", crc32c.crc32c(bytes(torn[21:])))
    builder._buffer = torn
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        await (await producer.send_batch(builder, lane.topic.name, partition=0))
