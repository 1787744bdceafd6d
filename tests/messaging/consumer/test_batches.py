"""Consumers on a real Kafka: no record is skipped or stops others, and offsets are committed after the database."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from messaging.consumer import Message, Rejected
from messaging.consumer.batches import ATTEMPTS
from messaging.consumer.broker import make_broker, subscribe
from tests.messaging.conftest import Lane
from tests.messaging.consumer.consuming import (
    RecordingHandler,
    committed_count,
    consuming,
    has_committed,
    published_dead_letters,
    valid_record,
)
from tests.messaging.witness import as_json, produce, read_all, wait_until
from tests.support.databases import Database


async def test_invalid_records_become_dead_letters_and_the_others_are_handled(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    ok = valid_record(lane, 0)
    bad = {
        "bad_header": ok | {"headers": [*ok["headers"], ("ce_id", b"\xff\xfe")]},
        "bad_value": ok | {"value": b"{not json"},
        "unknown_type": ok | {"headers": [("ce_id", str(uuid7()).encode()), ("ce_type", b"x")]},
        "tombstone": ok | {"value": None},
        "bad_key": ok | {"key": b"another"},
        "too_large": ok | {"value": as_json({"name": "k" * 900_100, "number": 1})},
        "bad_id": ok | {"headers": [("ce_type", lane.ce_type.encode())]},
    }
    all_records: list[dict[str, Any]] = []
    for number, record in enumerate(bad.values()):
        all_records += [valid_record(lane, number), record]
    all_records.append(valid_record(lane, len(bad)))
    produce(kafka, lane.topic.name, all_records)

    handler = RecordingHandler()
    async with consuming(lane, kafka, engine, handler):
        await wait_until(has_committed(kafka, lane, len(all_records)), "all offsets are committed")
    dead = await published_dead_letters(database, kafka, lane)

    assert handler.numbers == list(range(len(bad) + 1))
    assert [letter.reason for letter in sorted(dead, key=lambda d: d.offset)] == list(bad)
    originals = {record.offset: record for record in read_all(kafka, lane.topic.name)}
    for letter in dead:
        expected_value = None if "value" in letter.omitted else originals[letter.offset].value
        assert (letter.key, letter.value) == (originals[letter.offset].key, expected_value)
    assert [letter.omitted for letter in dead if letter.omitted] == [["value"]]


async def test_an_optional_header_without_a_value_is_ignored(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    odd = valid_record(lane, 1)
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:  # kafka-python cannot send it
        await producer.send_and_wait(
            lane.topic.name, **(odd | {"headers": [*odd["headers"], ("correlation_id", None)]})
        )
    produce(kafka, lane.topic.name, [valid_record(lane, 2)])

    handler = RecordingHandler()
    async with consuming(lane, kafka, engine, handler):
        await wait_until(has_committed(kafka, lane, 2), "all offsets are committed")

    assert handler.numbers == [1, 2]
    assert await published_dead_letters(database, kafka, lane) == []


async def test_a_record_with_very_many_headers_can_be_buried(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    """Each header adds overhead to a dead letter; together with the largest value it must still fit."""
    many = [(f"{number:x}", b"") for number in range(15_000)]
    largest = as_json({"name": "k" * 899_000, "number": "none"})
    produce(kafka, lane.topic.name, [{"value": largest, "headers": many}, valid_record(lane, 2)])

    handler = RecordingHandler()
    async with consuming(lane, kafka, engine, handler):
        await wait_until(has_committed(kafka, lane, 2), "all offsets are committed")
    (dead,) = await published_dead_letters(database, kafka, lane)

    assert handler.numbers == [2]
    assert (dead.offset, dead.omitted) == (0, ["headers"])


async def test_rejected_messages_become_dead_letters(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    produce(kafka, lane.topic.name, [valid_record(lane, number) for number in range(5)])

    async def rejecting(messages: Sequence[Message]) -> Sequence[Rejected]:
        return [
            Rejected(each, "odd_number", "odd numbers are refused")
            for each in messages
            if each.event.number % 2  # type: ignore[attr-defined]
        ]

    async with consuming(lane, kafka, engine, rejecting):
        await wait_until(has_committed(kafka, lane, 5), "all offsets are committed")

    assert [
        (each.offset, each.reason, each.text)
        for each in await published_dead_letters(database, kafka, lane)
    ] == [
        (1, "odd_number", "odd numbers are refused"),
        (3, "odd_number", "odd numbers are refused"),
    ]


async def test_the_record_that_breaks_the_handler_is_found_by_halving(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    tries: Counter[int] = Counter()

    def break_at_13(message: Message) -> None:
        number = message.event.number  # type: ignore[attr-defined]
        if number == 13:
            tries[13] += 1
            raise ZeroDivisionError("the text may quote the record")

    produce(kafka, lane.topic.name, [valid_record(lane, number) for number in range(40)])
    handler = RecordingHandler(break_at_13)
    async with consuming(lane, kafka, engine, handler):
        await wait_until(has_committed(kafka, lane, 40), "all offsets are committed")
    (dead,) = await published_dead_letters(database, kafka, lane)

    assert sorted(set(handler.numbers)) == [number for number in range(40) if number != 13]
    assert (dead.offset, dead.reason, dead.attempts) == (13, "ZeroDivisionError", ATTEMPTS)
    assert "quote" not in dead.text
    assert tries[13] < 20


async def test_a_handler_error_that_goes_away_leaves_no_dead_letter(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    left = iter(range(4))

    def break_twice(message: Message) -> None:
        if message.event.number == 1 and next(left, None) is not None:  # type: ignore[attr-defined]
            raise LookupError

    produce(kafka, lane.topic.name, [valid_record(lane, number) for number in range(3)])
    handler = RecordingHandler(break_twice)
    async with consuming(lane, kafka, engine, handler):
        await wait_until(has_committed(kafka, lane, 3), "all offsets are committed")

    assert sorted(set(handler.numbers)) == [0, 1, 2]
    assert await published_dead_letters(database, kafka, lane) == []


async def test_lost_database_connections_are_retried_and_nothing_is_skipped(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    produce(kafka, lane.topic.name, [valid_record(lane, n, partition=n % 3) for n in range(30)])
    cut = 0
    seen: set[int] = set()

    async def query_the_database(messages: Sequence[Message]) -> Sequence[Rejected]:
        nonlocal cut
        async with engine.begin() as connection:
            if cut < 3:
                cut += 1
                await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            await connection.execute(text("SELECT 1"))
        seen.update(each.event.number for each in messages)  # type: ignore[attr-defined]
        return []

    async with consuming(lane, kafka, engine, query_the_database, max_records=7):
        await wait_until(has_committed(kafka, lane, 30), "all offsets are committed")

    assert cut == 3
    assert seen == set(range(30))
    assert await published_dead_letters(database, kafka, lane) == []


async def test_an_unfinished_batch_is_left_to_the_next_process(
    lane: Lane, kafka: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    produce(kafka, lane.topic.name, [valid_record(lane, number) for number in range(10)])
    tried = asyncio.Event()

    async def database_is_away(messages: Sequence[Message]) -> Sequence[Rejected]:
        tried.set()
        raise ConnectionRefusedError

    async with consuming(lane, kafka, engine, database_is_away) as batches:
        await asyncio.wait_for(tried.wait(), 20)
        assert await batches.progress() is None
        monkeypatch.setattr("messaging.consumer.batches.STUCK_SECONDS", 0.0)
        assert f"handling a batch of {lane.topic.name}" in str(await batches.progress())
    assert await committed_count(kafka, lane) == 0

    handler = RecordingHandler()
    async with consuming(lane, kafka, engine, handler):
        await wait_until(has_committed(kafka, lane, 10), "the next process finishes it")
    assert handler.numbers == list(range(10))


async def test_a_rebalance_neither_loses_nor_repeats_a_record(
    lane: Lane, kafka: str, engine: AsyncEngine
) -> None:
    produce(kafka, lane.topic.name, [valid_record(lane, n, partition=n % 3) for n in range(600)])
    counts: Counter[int] = Counter()

    async def handle_slowly(messages: Sequence[Message]) -> Sequence[Rejected]:
        await asyncio.sleep(0.02)
        counts.update(each.event.number for each in messages)  # type: ignore[attr-defined]
        return []

    async def handled(count: int) -> bool:
        return len(counts) >= count

    async with consuming(lane, kafka, engine, handle_slowly, max_records=10):
        await wait_until(lambda: handled(50), "the first member works")
        async with consuming(lane, kafka, engine, handle_slowly, max_records=10):
            await wait_until(lambda: handled(200), "both work")
        await wait_until(has_committed(kafka, lane, 600), "all offsets are committed")

    assert counts == Counter(dict.fromkeys(range(600), 1)), "drained batches are not handled twice"


def test_a_group_without_a_dead_letter_topic_is_refused(lane: Lane, engine: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="no dead letter topic"):
        subscribe(
            make_broker("127.0.0.1:1", "x"), lane.topic, "unknown", RecordingHandler(), engine
        )
