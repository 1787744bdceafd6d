"""Kafka away: killed under load, and not there at all when the relay starts."""

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
from tests.messaging.witness import leader_pid, read_all, sequences, until, waiting
from tests.messaging.writers import Writers
from tests.support.databases import Database


@pytest.fixture
def broker(tmp_path: Path, lane: Lane) -> Iterator[Kafka]:
    """A broker of this test's own, to be killed."""
    with Kafka(tmp_path / "kafka") as made:
        provision(made.bootstrap, [lane.topic])
        yield made


@pytest.fixture
async def stop() -> AsyncIterator[asyncio.Event]:
    event = asyncio.Event()
    yield event
    event.set()


async def test_a_killed_broker_delays_and_loses_nothing(  # noqa: PLR0917
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    database: Database,
    lane: Lane,
    broker: Kafka,
    stop: asyncio.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The outage outlasts the time after which a silent leader is deposed, so keeping the lead shows that it speaks.
    monkeypatch.setattr(lead, "IDLE_SESSION_SECONDS", 2)
    monkeypatch.setattr(waves, "SPEAK_SECONDS", 0.5)
    writers = Writers(engine, lane.topic, keys=6)
    await writers.prepare(owner_engine)
    done = asyncio.Event()
    writing = asyncio.create_task(writers.write_until(2, done))
    running = asyncio.create_task(
        Relay(database.billing_url, "billing", broker.bootstrap).run(stop.wait())
    )
    await until(lambda: moved(engine, 0), "the relay publishes")
    pid = await leader_pid(engine)

    broker.kill()
    before = await waiting(engine)
    await until(lambda: more_waits(engine, before + 20), "business goes on")
    await asyncio.sleep(3)  # longer than the leader may be silent
    assert await leader_pid(engine) == pid, "it keeps the lead"
    await asyncio.to_thread(broker.start)
    done.set()
    await writing
    await until(lambda: caught_up(engine), "everything is published")
    stop.set()
    await running

    written = await writers.written()
    records = await asyncio.to_thread(read_all, broker.bootstrap, lane.topic.name)
    assert sequences(records) == {key: list(range(1, n + 1)) for key, n in written.items() if n}


async def test_without_kafka_it_waits_and_leaves_the_lead_to_others(
    engine: AsyncEngine, database: Database, kafka: str, stop: asyncio.Event
) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    cut_off = Relay(database.billing_url, "billing", nobody)
    running = asyncio.create_task(cut_off.run(stop.wait()))
    other = Relay(database.billing_url, "billing", kafka)
    await other.run_once()

    assert await leader_pid(engine) is not None
    assert not running.done()
    stop.set()
    await asyncio.wait_for(running, 20)
    await other.close()


async def moved(engine: AsyncEngine, beyond: int) -> bool:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT high_id FROM outbox_cursor")) or 0) > beyond


async def more_waits(engine: AsyncEngine, count: int) -> bool:
    return await waiting(engine) >= count


async def caught_up(engine: AsyncEngine) -> bool:
    return await waiting(engine) == 0
