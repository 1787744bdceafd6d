"""Workers and senders of notifications that are stopped inside a transaction stop nobody, and double nothing."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from sqlalchemy import text

from messaging.consumer.broker import SESSION_SECONDS
from tests.services.notifications.processes import Process
from tests.services.notifications.support import (
    Hall,
    Receiver,
    eventually,
    issued,
    message_of,
    record_of,
)
from tests.services.notifications.test_processes import publish
from tests.support.databases import Database
from tests.support.frozen import frozen_at, needs_proc, seconds_until

pytestmark = needs_proc

EVENTS = 20
# The bound of a transaction, and what a busy machine needs.
MOST_SECONDS = 20.0
# When partitions have to move as well.
MOST_WITH_KAFKA_SECONDS = SESSION_SECONDS + 20.0


@pytest.fixture
def environment(database: Database, kafka: str, hall: Hall) -> dict[str, str]:
    return {
        "METERHALL_NOTIFICATIONS_DATABASE_URL": database.notifications_url,
        "METERHALL_KAFKA": kafka,
        "METERHALL_SMTP_PORT": str(hall.mailbox.smtp_port),
        "METERHALL_WEBHOOK_ALLOW_LOOPBACK": "true",
        "METERHALL_BILLING_URL": "http://127.0.0.1:9",
    }


@pytest.fixture
def pair(
    request: pytest.FixtureRequest, environment: dict[str, str], tmp_path: Path
) -> Iterator[dict[str, Process]]:
    """Two processes of one kind."""
    made: dict[str, Process] = {}
    for name in ("first", "second"):
        folder = tmp_path / name
        folder.mkdir()
        made[name] = Process(request.param, folder, environment)
    yield made
    for each in made.values():
        each.kill()


@pytest.mark.parametrize("pair", ["worker"], indirect=True)
async def test_a_frozen_worker_holds_no_event_back(
    hall: Hall, kafka: str, receiver: Receiver, pair: dict[str, Process]
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    payer, _ = await hall.payer(channel)

    async def tell() -> None:
        await publish(kafka, [record_of(issued(channel, payer)) for _ in range(EVENTS)])

    async def planned(number: int) -> bool:
        return len(await hall.deliveries()) == number

    pids = {name: each.start().pid for name, each in pair.items()}
    await tell()
    # A webhook and a mail for each.
    await eventually(lambda: planned(2 * EVENTS), 60)
    lock = "LOCK TABLE recipients IN ACCESS EXCLUSIVE MODE"
    async with frozen_at(hall.engine, hall.owner, lock, pids, tell):
        took = await seconds_until(lambda: planned(4 * EVENTS), MOST_WITH_KAFKA_SECONDS)
    print(f"everything was planned after {took:.1f} s")
    await tell()
    await eventually(lambda: planned(6 * EVENTS))


@pytest.mark.parametrize("pair", ["sender"], indirect=True)
async def test_a_frozen_sender_leaves_what_it_has_claimed_to_the_others(
    hall: Hall, receiver: Receiver, pair: dict[str, Process]
) -> None:
    channel = await hall.channel(f"{receiver.url}/hook")
    pids = {"first": pair["first"].start().pid}

    async def sent(number: int) -> bool:
        return len(receiver.requests) == number

    # A statement that a session knows already waits when it is executed; a new one would wait before.
    for number in range(1, EVENTS + 1):
        await hall.take(message_of(issued(channel, "nobody")))
        await eventually(partial(sent, number))

    async def send_again() -> None:
        async with hall.owner.begin() as connection:
            await connection.execute(
                text(
                    "UPDATE deliveries SET status = 'pending', attempts = 0, next_attempt_at = now(), ended_at = NULL"
                )
            )

    lock = "LOCK TABLE endpoints IN ACCESS EXCLUSIVE MODE"
    async with frozen_at(hall.engine, hall.owner, lock, pids, send_again):
        pair["second"].start()
        took = await seconds_until(partial(sent, 2 * EVENTS), MOST_SECONDS)
    print(f"everything was sent after {took:.1f} s")

    async def recorded() -> bool:
        return {each.status for each in await hall.deliveries()} == {"delivered"}

    await eventually(recorded)
    assert len(receiver.requests) == 2 * EVENTS, "each once more"
