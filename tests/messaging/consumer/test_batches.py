"""Consumers on the real Kafka: nothing is skipped, nothing holds up its neighbours, offsets follow the database."""

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
from tests.messaging.consumer.consuming import Handled, commits, committed, consuming, good, letters
from tests.messaging.witness import as_json, read_all, until, write
from tests.support.databases import Database


async def test_bad_records_become_dead_letters_and_their_neighbours_are_handled(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    ok = good(lane, 0)
    bad = {
        "bad_header": ok | {"headers": [*ok["headers"], ("ce_id", b"\xff\xfe")]},
        "bad_value": ok | {"value": b"{not json"},
        "unknown_type": ok | {"headers": [("ce_id", str(uuid7()).encode()), ("ce_type", b"x")]},
        "tombstone": ok | {"value": None},
        "bad_key": ok | {"key": b"another"},
        "too_large": ok | {"value": as_json({"name": "k" * 900_100, "number": 1})},
        "bad_id": ok | {"headers": [("ce_type", lane.ce_type.encode())]},
    }
    amid: list[dict[str, Any]] = []
    for number, record in enumerate(bad.values()):
        amid += [good(lane, number), record]
    amid.append(good(lane, len(bad)))
    write(kafka, lane.topic.name, amid)

    handler = Handled()
    async with consuming(lane, kafka, engine, handler):
        await until(commits(kafka, lane, len(amid)), "all offsets are committed")
    dead = await letters(database, kafka, lane)

    assert handler.numbers == list(range(len(bad) + 1))
    assert [letter.reason for letter in sorted(dead, key=lambda d: d.offset)] == list(bad)
    lying = {record.offset: record for record in read_all(kafka, lane.topic.name)}
    for letter in dead:
        kept_value = None if "value" in letter.omitted else lying[letter.offset].value
        assert (letter.key, letter.value) == (lying[letter.offset].key, kept_value)
    assert [letter.omitted for letter in dead if letter.omitted] == [["value"]]


async def test_an_optional_header_without_a_value_is_as_if_it_were_not_there(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    odd = good(lane, 1)
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:  # kafka-python cannot send it
        await producer.send_and_wait(
            lane.topic.name, **(odd | {"headers": [*odd["headers"], ("correlation_id", None)]})
        )
    write(kafka, lane.topic.name, [good(lane, 2)])

    handler = Handled()
    async with consuming(lane, kafka, engine, handler):
        await until(commits(kafka, lane, 2), "all offsets are committed")

    assert handler.numbers == [1, 2]
    assert await letters(database, kafka, lane) == []


async def test_a_record_with_very_many_headers_can_be_buried(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    """Each header costs a dead letter more than its bytes; together with the largest value it must still fit."""
    many = [(f"{number:x}", b"") for number in range(15_000)]
    largest = as_json({"name": "k" * 899_000, "number": "none"})
    write(kafka, lane.topic.name, [{"value": largest, "headers": many}, good(lane, 2)])

    handler = Handled()
    async with consuming(lane, kafka, engine, handler):
        await until(commits(kafka, lane, 2), "all offsets are committed")
    (dead,) = await letters(database, kafka, lane)

    assert handler.numbers == [2]
    assert (dead.offset, dead.omitted) == (0, ["headers"])


async def test_what_the_handler_rejects_is_dead(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    write(kafka, lane.topic.name, [good(lane, number) for number in range(5)])

    async def rejecting(messages: Sequence[Message]) -> Sequence[Rejected]:
        return [
            Rejected(each, "odd_number", "odd numbers are refused")
            for each in messages
            if each.event.number % 2  # type: ignore[attr-defined]
        ]

    async with consuming(lane, kafka, engine, rejecting):
        await until(commits(kafka, lane, 5), "all offsets are committed")

    assert [
        (each.offset, each.reason, each.text) for each in await letters(database, kafka, lane)
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

    write(kafka, lane.topic.name, [good(lane, number) for number in range(40)])
    handler = Handled(break_at_13)
    async with consuming(lane, kafka, engine, handler):
        await until(commits(kafka, lane, 40), "all offsets are committed")
    (dead,) = await letters(database, kafka, lane)

    assert sorted(set(handler.numbers)) == [number for number in range(40) if number != 13]
    assert (dead.offset, dead.reason, dead.attempts) == (13, "ZeroDivisionError", ATTEMPTS)
    assert "quote" not in dead.text
    assert tries[13] < 20


async def test_an_error_that_heals_leaves_no_dead_letter(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    left = iter(range(4))

    def break_twice(message: Message) -> None:
        if message.event.number == 1 and next(left, None) is not None:  # type: ignore[attr-defined]
            raise LookupError

    write(kafka, lane.topic.name, [good(lane, number) for number in range(3)])
    handler = Handled(break_twice)
    async with consuming(lane, kafka, engine, handler):
        await until(commits(kafka, lane, 3), "all offsets are committed")

    assert sorted(set(handler.numbers)) == [0, 1, 2]
    assert await letters(database, kafka, lane) == []


async def test_a_failing_database_is_waited_out_and_nothing_is_skipped(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> None:
    write(kafka, lane.topic.name, [good(lane, n, partition=n % 3) for n in range(30)])
    cut = 0
    seen: set[int] = set()

    async def through_the_database(messages: Sequence[Message]) -> Sequence[Rejected]:
        nonlocal cut
        async with engine.begin() as connection:
            if cut < 3:
                cut += 1
                await connection.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
            await connection.execute(text("SELECT 1"))
        seen.update(each.event.number for each in messages)  # type: ignore[attr-defined]
        return []

    async with consuming(lane, kafka, engine, through_the_database, max_records=7):
        await until(commits(kafka, lane, 30), "all offsets are committed")

    assert cut == 3
    assert seen == set(range(30))
    assert await letters(database, kafka, lane) == []


async def test_a_batch_that_cannot_be_finished_is_given_back_at_the_end(
    lane: Lane, kafka: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(kafka, lane.topic.name, [good(lane, number) for number in range(10)])
    tried = asyncio.Event()

    async def database_is_away(messages: Sequence[Message]) -> Sequence[Rejected]:
        tried.set()
        raise ConnectionRefusedError

    async with consuming(lane, kafka, engine, database_is_away) as batches:
        await asyncio.wait_for(tried.wait(), 20)
        assert await batches.progress() is None
        monkeypatch.setattr("messaging.consumer.batches.STUCK_SECONDS", 0.0)
        assert f"at a batch of {lane.topic.name}" in str(await batches.progress())
    assert await committed(kafka, lane) == 0

    handler = Handled()
    async with consuming(lane, kafka, engine, handler):
        await until(commits(kafka, lane, 10), "the next process finishes it")
    assert handler.numbers == list(range(10))


async def test_partitions_move_without_losing_or_doubling_a_record(
    lane: Lane, kafka: str, engine: AsyncEngine
) -> None:
    write(kafka, lane.topic.name, [good(lane, n, partition=n % 3) for n in range(600)])
    counts: Counter[int] = Counter()

    async def slowly(messages: Sequence[Message]) -> Sequence[Rejected]:
        await asyncio.sleep(0.02)
        counts.update(each.event.number for each in messages)  # type: ignore[attr-defined]
        return []

    async def some(count: int) -> bool:
        return len(counts) >= count

    async with consuming(lane, kafka, engine, slowly, max_records=10):
        await until(lambda: some(50), "the first member works")
        async with consuming(lane, kafka, engine, slowly, max_records=10):
            await until(lambda: some(200), "both work")
        await until(commits(kafka, lane, 600), "all offsets are committed")

    assert counts == Counter(dict.fromkeys(range(600), 1)), "drained batches are not handled twice"


def test_a_group_without_a_dead_letter_topic_is_refused(lane: Lane, engine: AsyncEngine) -> None:
    with pytest.raises(ValueError, match="no dead letter topic"):
        subscribe(make_broker("127.0.0.1:1", "x"), lane.topic, "unknown", Handled(), engine)
