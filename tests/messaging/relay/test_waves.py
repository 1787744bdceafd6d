"""The relay on a real PostgreSQL and Kafka: published records, and recovery from crashes and lost connections."""

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
    count_unpublished,
    enqueue_all,
    leader_pid,
    message,
    produce,
    publish_all,
    read_all,
    sequences_by_key,
    wait_until,
)
from tests.messaging.writers import Writers
from tests.support.databases import Database


async def test_every_row_is_published_on_the_partition_of_its_key(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    for number in range(30):
        await enqueue_all(engine, lane.topic, f"key-{number}", 150)

    assert await publish_all(relays()) == 4500

    records = read_all(kafka, lane.topic.name)
    assert sequences_by_key(records) == {f"key-{n}": list(range(1, 151)) for n in range(30)}
    assert len(records) == 4500
    assert all(record.partition == (murmur2(record.key) & 0x7FFFFFFF) % 3 for record in records)


async def test_a_records_headers_are_the_envelope_of_its_row(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    sent = message(lane.topic, "the-key", 7, b'{"a": 1}')._replace(
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", correlation_id="c-1"
    )
    async with engine.begin() as connection:
        await enqueue(connection, [sent])
        written_at = await connection.scalar(text("SELECT now()"))
    await publish_all(relays())

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


async def test_a_dead_letter_has_its_records_key_value_and_headers(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    odd: list[dict[str, Any]] = [
        {"key": b"\xff\x00", "value": b"\xfe", "headers": [("h", b"\xff"), ("h", b"2")]},
        {"key": None, "value": b"no key", "headers": []},
        {"key": b"tombstone", "value": None, "headers": [("ce_id", b"x")]},
    ]
    produce(kafka, lane.topic.name, odd)
    originals = read_all(kafka, lane.topic.name)
    async with engine.begin() as connection:
        letters = [dead_letter(record, lane.group, "bad", "it is bad") for record in originals]
        await enqueue(connection, letters)
    await publish_all(relays())

    published = read_all(kafka, lane.dead_letters.name)
    restored = [
        (r.key, r.value, [h for h in r.headers if not h[0].startswith("dlq-")]) for r in published
    ]
    assert restored == [(r.key, r.value, list(r.headers)) for r in originals]
    dlq_headers = dict(published[0].headers)
    assert (dlq_headers["dlq-topic"], dlq_headers["dlq-reason"]) == (
        lane.topic.name.encode(),
        b"bad",
    )


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
    assert sequences_by_key(read_all(kafka, lane.topic.name)) == {"k": [1, 2, 3, 4, 5, 6, 7]}


async def test_a_crash_between_ack_and_cursor_repeats_one_wave_and_loses_none(
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    lane: Lane,
    kafka: str,
    relays: Callable[[], Relay],
) -> None:
    await enqueue_all(engine, lane.topic, "k", 2000)
    relay = relays()
    assert await publish_all(relay) == 2000
    await enqueue_all(engine, lane.topic, "k", 2500, first=2001)
    # A lock on the cursor's row stops the relay between Kafka's acknowledgement and the write of the cursor.
    async with owner_engine.connect() as holder:
        await holder.execute(text("SELECT * FROM billing.outbox_cursor FOR UPDATE"))
        wave = asyncio.create_task(publish_all(relay))
        await wait_until(lambda: topic_has(kafka, lane, 4000), "the second wave is in Kafka")
        await end_leader(engine)
        with pytest.raises(Exception) as caught:
            await wave
        assert is_transient(caught.value)
    await relay.release_lead()
    assert await publish_all(relay) == 2500

    records = read_all(kafka, lane.topic.name)
    assert len(records) == 2000 + 2000 + 2500, "one wave was sent twice, and only that one"
    assert sequences_by_key(records) == {"k": list(range(1, 4501))}


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
    await wait_until(lambda: published(engine), "everything is published")
    stop.set()
    await asyncio.gather(*running)

    written = await writers.written()
    found = sequences_by_key(read_all(kafka, lane.topic.name))
    assert cuts >= 2
    assert found == {key: list(range(1, count + 1)) for key, count in written.items() if count}


async def test_the_standby_leads_when_the_leader_loses_its_connection(
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
    await leader.release_lead()
    assert await leader.run_once() == 0, "the former leader stands by"


async def test_a_former_leader_cannot_move_the_cursor(
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
    await wait_until(lambda: topic_has(kafka, lane, 30), "the relay publishes")
    stop.set()
    await running
    rest = await count_unpublished(engine)

    assert await publish_all(relays()) == rest
    assert len(read_all(kafka, lane.topic.name)) == 300, "nothing is sent twice after a clean stop"


async def topic_has(kafka: str, lane: Lane, count: int) -> bool:
    return len(await asyncio.to_thread(read_all, kafka, lane.topic.name)) >= count


async def published(engine: AsyncEngine) -> bool:
    return await count_unpublished(engine) == 0


async def end_leader(engine: AsyncEngine) -> bool:
    """Terminate the leading relay's session; return False when no relay leads."""
    pid = await leader_pid(engine)
    if pid is None:
        return False
    async with engine.begin() as connection:
        return bool(
            await connection.scalar(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": pid})
        )


async def test_the_backlog_is_counted_without_reading_published_rows(
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
    assert await publish_all(relay) == published
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
    # Rows that sequential scans have read, over all partitions. A session flushes its own counts when it is idle.
    await connection.execute("SELECT pg_stat_force_next_flush()")
    found = await connection.fetchval(
        "SELECT sum(seq_tup_read)::bigint FROM pg_stat_user_tables WHERE relname LIKE 'outbox%'"
    )
    return int(found)
