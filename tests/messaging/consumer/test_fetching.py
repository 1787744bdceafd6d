"""Records of other producers: compressed, in transactions, and such that cannot be fetched at all."""

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
from tests.messaging.consumer.consuming import (
    RecordingHandler,
    consuming,
    has_committed,
    published_dead_letters,
    valid_record,
)
from tests.messaging.witness import produce, read_all, wait_until
from tests.support.databases import Database

CODECS = ["gzip", "snappy", "lz4", "zstd"]


def handles(handler: RecordingHandler, *numbers: int) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return sorted(handler.numbers) == sorted(numbers)

    return check


def recovered(batches: BatchConsumer) -> Callable[[], Awaitable[bool]]:
    async def check() -> bool:
        return await batches.progress() is None

    return check


@pytest.mark.parametrize("codec", CODECS)
async def test_records_of_every_codec_are_handled(
    lane: Lane, kafka: str, engine: AsyncEngine, codec: str
) -> None:
    """The records are larger than a block of each codec, written by aiokafka and kafka-python and read by both."""
    numbers = range(300)
    async with AIOKafkaProducer(
        bootstrap_servers=kafka, compression_type=codec, max_batch_size=1_000_000, linger_ms=200
    ) as producer:
        sent = [
            await producer.send(lane.topic.name, **valid_record(lane, each)) for each in numbers
        ]
        for each in sent:
            await each
    produce(
        kafka, lane.topic.name, [valid_record(lane, 300, "k" * 5_000, 1)], compression_type=codec
    )
    handler = RecordingHandler()
    async with consuming(lane, kafka, engine, handler):
        await wait_until(handles(handler, *range(301)), "all are handled")
    assert len(read_all(kafka, lane.topic.name)) == 301
    produce(kafka, lane.dead_letters.name, [{"value": b"x" * 10_000}], compression_type=codec)
    assert read_dead_letters(kafka, lane.topic.name) == [], (
        "a record that is not a dead letter is skipped"
    )


async def test_records_of_an_aborted_transaction_are_not_handled(
    lane: Lane, kafka: str, engine: AsyncEngine
) -> None:
    handler = RecordingHandler()
    async with (
        consuming(lane, kafka, engine, handler),
        AIOKafkaProducer(
            bootstrap_servers=kafka, transactional_id=f"wallet-{uuid.uuid4()}"
        ) as producer,
    ):
        await producer.begin_transaction()
        await producer.send_and_wait(lane.topic.name, **valid_record(lane, 1))
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(lane.topic.name, **valid_record(lane, 2))
        produce(kafka, lane.topic.name, [valid_record(lane, 3), valid_record(lane, 4, partition=1)])
        await wait_until(handles(handler, 2, 3, 4), "the committed records are handled")


async def test_an_unreadable_record_becomes_a_dead_letter_and_the_others_are_handled(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    """A header name that is not UTF-8: Kafka accepts it, and the client cannot read the record."""
    produce(kafka, lane.topic.name, [valid_record(lane, 1)])
    for _ in range(3):
        await _send_unreadable(kafka, lane)
    produce(
        kafka,
        lane.topic.name,
        [
            valid_record(lane, 2),
            valid_record(lane, 3, partition=1),
            valid_record(lane, 4, partition=2),
        ],
    )
    await _send_unreadable(kafka, lane)
    failures = metrics.FAILURES.labels(lane.topic.name, lane.group, "UnicodeDecodeError")
    handler = RecordingHandler()
    async with consuming(lane, kafka, engine, handler):
        await wait_until(handles(handler, 1, 2, 3, 4), "all readable records are handled")
        await wait_until(has_committed(kafka, lane, 8), "all offsets are committed")
    assert failures._value.get() >= 4 * ATTEMPTS
    dead = sorted(await published_dead_letters(database, kafka, lane), key=lambda each: each.offset)
    assert [(each.partition, each.offset) for each in dead] == [(0, 1), (0, 2), (0, 3), (0, 5)]
    for each in dead:
        assert (each.reason, each.attempts) == ("unreadable", ATTEMPTS)
        assert (each.key, each.value, each.omitted) == (None, None, ["key", "value", "headers"])


async def test_a_record_that_a_retry_may_read_is_never_skipped(
    lane: Lane, kafka: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A codec that is not installed: other partitions go on, the process is not ready, and no record is lost."""
    monkeypatch.setattr(fetching, "UNFETCHABLE_SECONDS", 1.0)
    handler = RecordingHandler()
    with monkeypatch.context() as without_codec:
        without_codec.setattr("aiokafka.codec.cramjam", None)
        # Long enough to be compressed.
        produce(
            kafka, lane.topic.name, [valid_record(lane, 1, "k" * 5_000)], compression_type="zstd"
        )
        async with consuming(lane, kafka, engine, handler) as batches:
            assert await batches.progress() is None
            for number in range(10, 20):
                produce(kafka, lane.topic.name, [valid_record(lane, number, partition=1)])
                await wait_until(
                    handles(handler, *range(10, number + 1)), "another partition goes on"
                )

            async def not_ready() -> bool:
                problem = await batches.progress()
                return problem is not None and f"{lane.topic.name}/0 from offset 0" in problem

            await wait_until(not_ready, "the process says that it is not ready")
            without_codec.undo()
            await wait_until(
                handles(handler, 1, *range(10, 20)),
                "the record is read once the codec is installed",
            )
            await wait_until(recovered(batches), "the process is ready again")


async def test_a_topic_that_cannot_be_fetched_makes_the_process_not_ready(
    lane: Lane, kafka: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Kafka's error when the right to read is revoked; simulated, because this broker has no access control."""
    monkeypatch.setattr(fetching, "UNFETCHABLE_SECONDS", 0.5)
    handler = RecordingHandler()
    produce(kafka, lane.topic.name, [valid_record(lane, 1)])

    async def refused(*_: Any, **__: Any) -> Any:
        raise TopicAuthorizationFailedError(lane.topic.name)

    async with consuming(lane, kafka, engine, handler) as batches:
        await wait_until(handles(handler, 1), "it works")
        with monkeypatch.context() as revoked:
            revoked.setattr(batches.subscriber.consumer, "getmany", refused)

            async def not_ready() -> bool:
                problem = await batches.progress()
                return problem is not None and "TopicAuthorizationFailedError" in problem

            await wait_until(not_ready, "the process says that it is not ready")
        produce(kafka, lane.topic.name, [valid_record(lane, 2)])
        await wait_until(handles(handler, 1, 2), "it goes on")
        await wait_until(recovered(batches), "the process is ready again")


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
