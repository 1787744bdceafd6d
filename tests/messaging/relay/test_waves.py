"""The relay on the real PostgreSQL and Kafka: what it publishes, and what becomes of it when something breaks."""

import asyncio
from collections.abc import Callable
from typing import Any

import asyncpg
import pytest
from kafka.partitioner.default import murmur2
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.consumer.dead_letter import dead_letter
from messaging.outbox import enqueue
from messaging.relay import Relay, backlog
from messaging.relay.lead import connect_relay, take_lead
from messaging.transient import is_transient
from tests.messaging.conftest import Lane
from tests.messaging.witness import (
    drain,
    enqueue_all,
    leader_pid,
    message,
    read_all,
    sequences,
    until,
    waiting,
    write,
)
from tests.messaging.writers import Writers
from tests.support.databases import Database


async def test_publishes_every_row_where_its_key_belongs(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    for number in range(30):
        await enqueue_all(engine, lane.topic, f"key-{number}", 150)

    assert await drain(relays()) == 4500

    records = read_all(kafka, lane.topic.name)
    assert sequences(records) == {f"key-{n}": list(range(1, 151)) for n in range(30)}
    assert len(records) == 4500
    assert all(record.partition == (murmur2(record.key) & 0x7FFFFFFF) % 3 for record in records)


async def test_headers_are_the_envelope_of_the_row(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    sent = message(lane.topic, "the-key", 7, b'{"a": 1}')._replace(
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", correlation_id="c-1"
    )
    async with engine.begin() as connection:
        await enqueue(connection, [sent])
        written_at = await connection.scalar(text("SELECT now()"))
    await drain(relays())

    (record,) = read_all(kafka, lane.topic.name)
    assert record.value == b'{"a": 1}'
    assert {name: raw.decode() for name, raw in record.headers} == {
        "ce_specversion": "1.0",
        "ce_id": str(sent.event_id),
        "ce_source": "meterhall/test",
        "ce_type": "meterhall.Tested.v1",
        "ce_subject": "the-key",
        "ce_time": written_at.isoformat(),
        "ce_sequence": "7",
        "content-type": "application/json",
        "traceparent": sent.traceparent,
        "correlation_id": "c-1",
    }


async def test_a_dead_letter_keeps_key_value_and_headers(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    odd: list[dict[str, Any]] = [
        {"key": b"\xff\x00", "value": b"\xfe", "headers": [("h", b"\xff"), ("h", b"2")]},
        {"key": None, "value": b"no key", "headers": []},
        {"key": b"tombstone", "value": None, "headers": [("ce_id", b"x")]},
    ]
    write(kafka, lane.topic.name, odd)
    lying = read_all(kafka, lane.topic.name)
    async with engine.begin() as connection:
        letters = [dead_letter(record, lane.group, "bad", "it is bad") for record in lying]
        await enqueue(connection, letters)
    await drain(relays())

    found = read_all(kafka, lane.dead_letters.name)
    as_it_was = [
        (r.key, r.value, [h for h in r.headers if not h[0].startswith("dlq-")]) for r in found
    ]
    assert as_it_was == [(r.key, r.value, list(r.headers)) for r in lying]
    told = dict(found[0].headers)
    assert (told["dlq-topic"], told["dlq-reason"]) == (lane.topic.name.encode(), b"bad")


async def test_messages_beyond_one_batch_keep_their_order(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    sizes = [900_000, 10, 400_000, 700_000, 900_000, 5, 600_000]
    async with engine.begin() as connection:
        await enqueue(
            connection,
            [message(lane.topic, "k", n, b"x" * size) for n, size in enumerate(sizes, 1)],
        )

    assert await relays().run_once() == 7
    assert sequences(read_all(kafka, lane.topic.name)) == {"k": [1, 2, 3, 4, 5, 6, 7]}


async def test_a_crash_between_ack_and_cursor_repeats_one_wave_and_loses_none(
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    lane: Lane,
    kafka: str,
    relays: Callable[[], Relay],
) -> None:
    await enqueue_all(engine, lane.topic, "k", 2000)
    relay = relays()
    assert await drain(relay) == 2000
    await enqueue_all(engine, lane.topic, "k", 2500, first=2001)
    # Somebody holds the cursor's row, so the relay hangs exactly between Kafka's answer and the cursor.
    async with owner_engine.connect() as holder:
        await holder.execute(text("SELECT * FROM billing.outbox_cursor FOR UPDATE"))
        wave = asyncio.create_task(drain(relay))
        await until(lambda: holds(kafka, lane, 4000), "the second wave is in Kafka")
        await end_leader(engine)
        with pytest.raises(Exception) as caught:
            await wave
        assert is_transient(caught.value)
    await relay.let_go()
    assert await drain(relay) == 2500

    records = read_all(kafka, lane.topic.name)
    assert len(records) == 2000 + 2000 + 2500, "one wave was sent twice, and only that one"
    assert sequences(records) == {"k": list(range(1, 4501))}


async def test_concurrent_writers_through_cut_connections(
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    lane: Lane,
    kafka: str,
    relays: Callable[[], Relay],
) -> None:
    writers = Writers(engine, lane.topic, keys=12)
    await writers.prepare(owner_engine)
    stop = asyncio.Event()
    running = [asyncio.create_task(relays().run(stop.wait())) for _ in range(2)]
    writing = asyncio.create_task(writers.write(tasks=8, transactions=600))
    cuts = 0
    while not writing.done():
        await asyncio.sleep(0.25)
        cuts += await end_leader(engine)
    await writing
    await until(lambda: published(engine), "everything is published")
    stop.set()
    await asyncio.gather(*running)

    written = await writers.written()
    found = sequences(read_all(kafka, lane.topic.name))
    assert cuts >= 2
    assert found == {key: list(range(1, count + 1)) for key, count in written.items() if count}


async def test_the_standby_leads_when_the_leaders_connection_is_gone(
    engine: AsyncEngine, lane: Lane, relays: Callable[[], Relay]
) -> None:
    leader, standby = relays(), relays()
    await enqueue_all(engine, lane.topic, "k", 10)
    assert await leader.run_once() == 10
    await enqueue_all(engine, lane.topic, "k", 10, first=11)
    assert await standby.run_once() == 0, "only one publishes"

    await end_leader(engine)
    assert await standby.run_once() in {10, 20}
    with pytest.raises(Exception) as caught:
        await leader.run_once()
    assert is_transient(caught.value)
    await leader.let_go()
    assert await leader.run_once() == 0, "it stands by now"


async def test_a_deposed_leader_cannot_move_the_cursor(
    engine: AsyncEngine, database: Database, lane: Lane
) -> None:
    first, second = [await connect_relay(database.billing_url, "billing") for _ in range(2)]
    old = await take_lead(first)
    assert old is not None
    assert await take_lead(second) is None
    await first.execute("SELECT pg_advisory_unlock_all()")
    new = await take_lead(second)
    assert new is not None

    with pytest.raises(ConnectionError, match="another relay"):
        await old.save(old.start, 99)
    await new.save(new.start, 5)
    assert await second.fetchval("SELECT high_id FROM outbox_cursor") == 5
    await first.close()
    await second.close()


async def test_stops_after_the_wave_with_the_cursor_stored(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    stop = asyncio.Event()
    running = asyncio.create_task(relays().run(stop.wait()))
    total = 0
    while total < 300:
        total += 30
        await enqueue_all(engine, lane.topic, "k", 30, first=total - 29)
    await until(lambda: holds(kafka, lane, 30), "it publishes")
    stop.set()
    await running
    rest = await waiting(engine)

    assert await drain(relays()) == rest
    assert len(read_all(kafka, lane.topic.name)) == 300, "nothing is sent twice after a clean stop"


async def holds(kafka: str, lane: Lane, count: int) -> bool:
    return len(await asyncio.to_thread(read_all, kafka, lane.topic.name)) >= count


async def published(engine: AsyncEngine) -> bool:
    return await waiting(engine) == 0


async def end_leader(engine: AsyncEngine) -> bool:
    """Cut the leading relay's connection, as a failing network or an administrator would."""
    pid = await leader_pid(engine)
    if pid is None:
        return False
    async with engine.begin() as connection:
        return bool(
            await connection.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        )


async def test_the_backlog_is_counted_without_reading_what_is_published(
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    lane: Lane,
    database: Database,
    relays: Callable[[], Relay],
) -> None:
    published = 20_000
    for first in range(1, published, 2_000):
        await enqueue_all(engine, lane.topic, "the-key", 2_000, first)
    relay = relays()
    assert await drain(relay) == published
    await relay.close()
    async with owner_engine.begin() as owner:
        await owner.execute(text("ANALYZE outbox"))
    await enqueue_all(engine, lane.topic, "the-key", 3, published + 1)

    connection = await connect_relay(database.billing_url, "billing")
    before = await _rows_read_in_sequence(connection)
    assert (await backlog(connection))[0] == 3
    assert await _rows_read_in_sequence(connection) - before < published / 10
    await connection.close()


async def _rows_read_in_sequence(connection: "asyncpg.Connection[Any]") -> int:
    # Of all partitions, by scans that look at every row. A session's own counts are flushed when it is idle.
    await connection.execute("SELECT pg_stat_force_next_flush()")
    found = await connection.fetchval(
        "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'outbox%'"
    )
    return int(found)
