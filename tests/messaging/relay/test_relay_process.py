"""The deployed process `python -m services.billing.relay`, killed and frozen while writers write."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.topics import Topic
from messaging.outbox import enqueue
from sandbox.local.children import with_parent
from sandbox.local.ports import free_port
from tests.messaging.conftest import Lane
from tests.messaging.witness import (
    count_unpublished,
    leader_pid,
    message,
    read_all,
    sequences_by_key,
    wait_until,
)
from tests.messaging.writers import Writers
from tests.support.databases import Database

# The process knows only the contract's topics, so the test's topic is added; everything else is as deployed.
PROGRAM = """
import sys
from events.topics import BY_CODE, Topic
from messaging.relay import lead
from services.billing import relay
code, name, idle = sys.argv[1:]
BY_CODE[int(code)] = Topic(int(code), name, 3, "name", "meterhall/test")
lead.IDLE_SESSION_SECONDS = int(idle)
relay.main()
"""

Start = Callable[..., subprocess.Popen[bytes]]


@pytest.fixture
async def start(database: Database, kafka: str, lane: Lane, tmp_path: Path) -> AsyncIterator[Start]:
    """Return a function that starts relay processes; kill them afterwards."""
    started: list[subprocess.Popen[bytes]] = []
    log = (tmp_path / "relay.log").open("ab")

    def start_one(idle_session_seconds: int = 15, metrics_port: int = 0) -> subprocess.Popen[bytes]:
        topic = (str(lane.topic.code), lane.topic.name)
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, *topic, str(idle_session_seconds)],
                env=os.environ
                | {
                    "METERHALL_DATABASE_URL": database.billing_url,
                    "METERHALL_KAFKA": kafka,
                    "METERHALL_METRICS_PORT": str(metrics_port),
                },
                stderr=log,
                preexec_fn=with_parent(signal.SIGKILL),
            )
        )
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()
    log.close()


async def test_killed_relays_lose_no_message(
    engine: AsyncEngine, owner_engine: AsyncEngine, lane: Lane, kafka: str, start: Start
) -> None:
    writers = Writers(engine, lane.topic, keys=12)
    await writers.prepare(owner_engine)
    done = asyncio.Event()
    writing = asyncio.create_task(writers.write_until(4, done))
    running = {process.pid: process for process in (start(), start())}
    for _ in range(5):
        await wait_until(lambda: leads(engine), "a relay leads")
        await wait_until_published(engine)
        leader = running.pop(await leading_process(engine))
        leader.kill()
        leader.wait()
        replacement = start()
        running[replacement.pid] = replacement
    done.set()
    await writing
    await wait_until(lambda: caught_up(engine), "everything is published")
    leader = running[await leading_process(engine)]
    leader.terminate()

    assert leader.wait(timeout=15) == 0, "SIGTERM ends the relay cleanly"
    written = await writers.written()
    assert sum(written.values()) > 500
    records = read_all(kafka, lane.topic.name)
    assert sequences_by_key(records) == {
        key: list(range(1, n + 1)) for key, n in written.items() if n
    }


async def test_a_frozen_leader_loses_the_lead_and_stands_by_when_it_wakes(
    engine: AsyncEngine, lane: Lane, kafka: str, start: Start
) -> None:
    frozen = start(idle_session_seconds=1)
    await wait_until(lambda: leads(engine), "the first leads")
    before = await leader_pid(engine)
    standby = start(idle_session_seconds=1)
    await write(engine, lane, 1, 200)
    frozen.send_signal(signal.SIGSTOP)
    await write(engine, lane, 201, 400)
    await wait_until(lambda: caught_up(engine), "the standby publishes")

    assert await leader_pid(engine) not in {before, None}
    frozen.send_signal(signal.SIGCONT)
    await write(engine, lane, 401, 500)
    await wait_until(lambda: caught_up(engine), "the new leader publishes on")
    assert standby.poll() is None
    assert frozen.poll() is None, "it has become the standby"
    assert sequences_by_key(read_all(kafka, lane.topic.name)) == {"k": list(range(1, 501))}


async def test_a_halted_relay_exits_with_1(engine: AsyncEngine, start: Start) -> None:
    newer = Topic(8999, "of.tomorrow.v1", 3, "k", "meterhall/test")
    async with engine.begin() as connection:
        await enqueue(connection, [message(newer, "k", 1)])
    process = start()

    assert await asyncio.to_thread(process.wait, 20) == 1
    assert await count_unpublished(engine) == 1


async def test_probes_and_metrics_are_served(engine: AsyncEngine, start: Start) -> None:
    port = free_port()
    start(metrics_port=port)
    await wait_until(lambda: leads(engine), "the relay leads")

    assert await get(port, "/livez") == (200, "alive\n")
    assert await get(port, "/readyz") == (200, "ready\n")
    status, metrics = await get(port, "/metrics")
    assert status == 200
    assert "outbox_relay_active 1.0" in metrics
    assert "outbox_pending_rows 0.0" in metrics


async def get(port: int, path: str) -> tuple[int, str]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    head, _, body = (await reader.read()).decode().partition("\r\n\r\n")
    writer.close()
    return int(head.split(" ")[1]), body


async def write(engine: AsyncEngine, lane: Lane, first: int, last: int) -> None:
    for start_at in range(first, last + 1, 20):
        async with engine.begin() as connection:
            await enqueue(
                connection, [message(lane.topic, "k", n) for n in range(start_at, start_at + 20)]
            )


async def leads(engine: AsyncEngine) -> bool:
    return await leader_pid(engine) is not None


async def leading_process(engine: AsyncEngine) -> int:
    """Return the process id of the leading relay."""
    async with engine.connect() as connection:
        owner_name = await connection.scalar(text("SELECT owner FROM outbox_cursor"))
        return int(str(owner_name).rsplit(":", 1)[1])


async def caught_up(engine: AsyncEngine) -> bool:
    return await count_unpublished(engine) == 0


async def wait_until_published(engine: AsyncEngine) -> None:
    """Wait until the cursor has moved, so that the relay is publishing when it is killed."""

    async def position() -> str:
        async with engine.connect() as connection:
            return str(await connection.scalar(text("SELECT high_id FROM outbox_cursor")))

    at = await position()

    async def moved() -> bool:
        return await position() != at

    await wait_until(moved, "the cursor moves")
