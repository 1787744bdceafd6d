"""A copy restored into another cluster, in which the old transaction ids have no meaning."""

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.outbox import enqueue
from messaging.outbox.rebase import RelayRunsError, rebase
from messaging.relay import HaltedError, Relay
from tests.messaging.conftest import Lane
from tests.messaging.witness import count_unpublished, message, read_all, sequences_by_key
from tests.support.databases import Database

# After a restore the other cluster's transaction ids are far in the future here, or long past.
AHEAD, BEHIND = 4_000_000, -600


@pytest.mark.parametrize("shift", [AHEAD, BEHIND])
async def test_after_a_rebase_only_unpublished_messages_are_published(  # noqa: PLR0917
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    database: Database,
    lane: Lane,
    kafka: str,
    shift: int,
) -> None:
    relay = Relay(database.billing_url, "billing", kafka)
    await enqueue_range(engine, lane, 1, 50)
    assert await relay.run_once() == 50
    await relay.close()
    await enqueue_range(engine, lane, 51, 80)
    await restore(owner_engine, shift)

    with pytest.raises(HaltedError, match=r"messaging\.outbox\.rebase"):
        await Relay(database.billing_url, "billing", kafka).run_once()
    async with owner_engine.begin() as owner:
        assert await rebase(owner) == 30
    await enqueue_range(engine, lane, 81, 90)

    after = Relay(database.billing_url, "billing", kafka)
    assert [await after.run_once(), await after.run_once()] == [40, 0]
    await after.close()
    assert await count_unpublished(engine) == 0
    records = read_all(kafka, lane.topic.name)
    assert sequences_by_key(records) == {"k": list(range(1, 91))}
    assert len(records) == 90


async def test_rebase_is_refused_while_a_relay_runs(
    engine: AsyncEngine, owner_engine: AsyncEngine, database: Database, kafka: str
) -> None:
    relay = Relay(database.billing_url, "billing", kafka)
    await relay.run_once()
    with pytest.raises(RelayRunsError):
        async with owner_engine.begin() as owner:
            await rebase(owner)
    await relay.close()


async def enqueue_range(engine: AsyncEngine, lane: Lane, first: int, last: int) -> None:
    async with engine.begin() as connection:
        await enqueue(connection, [message(lane.topic, "k", n) for n in range(first, last + 1)])


async def restore(owner_engine: AsyncEngine, shift: int) -> None:
    """Shift the transaction ids of rows and cursor, as if they came from another cluster."""
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
