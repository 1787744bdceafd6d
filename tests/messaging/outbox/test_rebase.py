"""A copy restored into another cluster, whose transaction ids mean nothing here."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.outbox import enqueue
from messaging.outbox.rebase import RelayRunsError, rebase
from messaging.relay import HaltedError, Relay
from tests.messaging.conftest import Lane
from tests.messaging.witness import message, read_all, sequences, waiting
from tests.support.databases import Database

# What a restore does to ids that another cluster gave: here they are far in the future, or long past.
AHEAD, BEHIND = 4_000_000, -600


@pytest.mark.parametrize("shift", [AHEAD, BEHIND])
async def test_what_waited_is_published_and_the_rest_is_not(  # noqa: PLR0917
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    database: Database,
    lane: Lane,
    kafka: str,
    shift: int,
) -> None:
    relay = Relay(database.billing_url, "billing", kafka)
    await write(engine, lane, 1, 50)
    assert await relay.run_once() == 50
    await relay.close()
    await write(engine, lane, 51, 80)
    await restore(owner_engine, shift)

    with pytest.raises(HaltedError, match=r"messaging\.outbox\.rebase"):
        await Relay(database.billing_url, "billing", kafka).run_once()
    async with owner_engine.begin() as owner:
        assert await rebase(owner) == 30
    await write(engine, lane, 81, 90)

    after = Relay(database.billing_url, "billing", kafka)
    assert [await after.run_once(), await after.run_once()] == [40, 0]
    await after.close()
    assert await waiting(engine) == 0
    records = read_all(kafka, lane.topic.name)
    assert sequences(records) == {"k": list(range(1, 91))}
    assert len(records) == 90


async def test_a_relay_that_runs_is_in_the_way(
    engine: AsyncEngine, owner_engine: AsyncEngine, database: Database, kafka: str
) -> None:
    relay = Relay(database.billing_url, "billing", kafka)
    await relay.run_once()
    with pytest.raises(RelayRunsError):
        async with owner_engine.begin() as owner:
            await rebase(owner)
    await relay.close()


async def write(engine: AsyncEngine, lane: Lane, first: int, last: int) -> None:
    async with engine.begin() as connection:
        await enqueue(connection, [message(lane.topic, "k", n) for n in range(first, last + 1)])


async def restore(owner_engine: AsyncEngine, shift: int) -> None:
    """Make the rows and the cursor those of a cluster that is so many transactions from this one."""
    async with owner_engine.begin() as owner:
        await owner.execute(
            text(f"UPDATE outbox SET xid = (xid::text::bigint + {shift})::text::xid8")
        )
        row = (await owner.execute(text("SELECT prev::text, cur::text FROM outbox_cursor"))).one()
        moved = [snapshot and shifted(snapshot, shift) for snapshot in row]
        await owner.execute(
            text(
                "UPDATE outbox_cursor SET cluster = 1, prev = CAST(:prev AS text)::pg_snapshot,"
                " cur = CAST(:cur AS text)::pg_snapshot"
            ),
            {"prev": moved[0], "cur": moved[1]},
        )


def shifted(snapshot: str, shift: int) -> str:
    low, high, running = snapshot.split(":")
    ids = [str(int(id) + shift) for id in running.split(",") if id]
    return f"{int(low) + shift}:{int(high) + shift}:{','.join(ids)}"
