"""Outages of Kafka: killed under load, and unreachable when the relay starts."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.control import provision
from messaging.relay import Relay, lead, waves
from sandbox.local.kafka import Kafka
from sandbox.local.ports import free_port
from tests.messaging.conftest import Lane
from tests.messaging.witness import (
    count_unpublished,
    leader_pid,
    read_all,
    sequences_by_key,
    wait_until,
)
from tests.messaging.writers import Writers
from tests.support.databases import Database


@pytest.fixture
def broker(tmp_path: Path, lane: Lane) -> Iterator[Kafka]:
    """A broker for this test only, which it may kill."""
    with Kafka(tmp_path / "kafka") as broker:
        provision(broker.bootstrap, [lane.topic])
        yield broker


@pytest.fixture
async def stop() -> AsyncIterator[asyncio.Event]:
    event = asyncio.Event()
    yield event
    event.set()


async def test_a_killed_broker_delays_messages_and_loses_none(  # noqa: PLR0917
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    database: Database,
    lane: Lane,
    broker: Kafka,
    stop: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The outage is longer than the idle session timeout, so only a leader that sends keepalives keeps the lead.
    monkeypatch.setattr(lead, "IDLE_SESSION_SECONDS", 2)
    monkeypatch.setattr(waves, "KEEPALIVE_SECONDS", 0.5)
    writers = Writers(engine, lane.topic, keys=6)
    await writers.prepare(owner_engine)
    done = asyncio.Event()
    writing = asyncio.create_task(writers.write_until(2, done))
    running = asyncio.create_task(
        Relay(database.billing_url, "billing", broker.bootstrap).run(stop.wait())
    )
    await wait_until(lambda: has_published(engine, 0), "the relay publishes")
    pid = await leader_pid(engine)

    broker.kill()
    before = await count_unpublished(engine)
    await wait_until(lambda: backlog_reaches(engine, before + 20), "writers go on")
    await asyncio.sleep(3)  # longer than the leader may be silent
    assert await leader_pid(engine) == pid, "the leader keeps the lead"
    await asyncio.to_thread(broker.start)
    done.set()
    await writing
    await wait_until(lambda: caught_up(engine), "everything is published")
    stop.set()
    await running

    written = await writers.written()
    records = await asyncio.to_thread(read_all, broker.bootstrap, lane.topic.name)
    assert sequences_by_key(records) == {
        key: list(range(1, n + 1)) for key, n in written.items() if n
    }


async def test_a_relay_without_kafka_waits_and_does_not_take_the_lead(
    engine: AsyncEngine, database: Database, kafka: str, stop: asyncio.Event
) -> None:
    unreachable = f"127.0.0.1:{free_port()}"
    cut_off = Relay(database.billing_url, "billing", unreachable)
    running = asyncio.create_task(cut_off.run(stop.wait()))
    other = Relay(database.billing_url, "billing", kafka)
    await other.run_once()

    assert await leader_pid(engine) is not None
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 20)
    await other.close()


async def has_published(engine: AsyncEngine, beyond: int) -> bool:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT high_id FROM outbox_cursor")) or 0) > beyond


async def backlog_reaches(engine: AsyncEngine, count: int) -> bool:
    return await count_unpublished(engine) >= count


async def caught_up(engine: AsyncEngine) -> bool:
    return await count_unpublished(engine) == 0
