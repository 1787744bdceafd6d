"""The outbox: accepted and refused messages, and the creation and removal of partitions."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.topics import PAYMENT_EVENTS
from messaging.outbox import drop_old_partitions, enqueue, ensure_partitions
from tests.messaging.witness import count_unpublished, message

LARGEST = 900_000


async def test_the_largest_payload_is_accepted_and_a_larger_one_refused(
    engine: AsyncEngine,
) -> None:
    async with engine.begin() as connection:
        await enqueue(connection, [message(PAYMENT_EVENTS, "k", 1, b"x" * LARGEST)])
    with pytest.raises(IntegrityError, match="ck_outbox_size"):
        async with engine.begin() as connection:
            await enqueue(connection, [message(PAYMENT_EVENTS, "k", 2, b"x" * (LARGEST + 1))])

    assert await count_unpublished(engine) == 1


async def test_a_rollback_leaves_nothing(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        savepoint = await connection.begin_nested()
        await enqueue(connection, [message(PAYMENT_EVENTS, "k", 1)])
        await savepoint.rollback()
        await enqueue(
            connection, [message(PAYMENT_EVENTS, "k", 1), message(PAYMENT_EVENTS, "k", 2)]
        )

    assert await count_unpublished(engine) == 2


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE outbox SET payload = ''",
        "DELETE FROM outbox",
        "DELETE FROM outbox_cursor",
        "INSERT INTO outbox (id, event_id, topic, key, sequence, type)"
        " VALUES (1, gen_random_uuid(), 1, 'k', 1, 't')",
    ],
)
async def test_the_application_role_may_only_insert(engine: AsyncEngine, statement: str) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with engine.begin() as connection:
            await connection.execute(text(statement))


async def test_partitions_are_created_ahead_of_time(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        assert await ensure_partitions(connection, 7) == 0
        assert await ensure_partitions(connection, 9) == 2


async def test_old_partitions_are_dropped_once_they_are_published(
    engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await add_old_partition(owner_engine, "20240101")
    async with owner_engine.begin() as owner:
        await owner.execute(text("UPDATE billing.outbox_cursor SET prev = pg_current_snapshot()"))
    await add_old_partition(owner_engine, "20240102")

    async with engine.begin() as connection:
        assert await drop_old_partitions(connection) == ["outbox_p20240101"]
    assert await count_unpublished(engine) == 1


async def add_old_partition(owner_engine: AsyncEngine, day: str) -> None:
    async with owner_engine.begin() as owner:
        await owner.execute(
            text(
                f"CREATE TABLE billing.outbox_p{day} PARTITION OF billing.outbox"
                f" FOR VALUES FROM ('{day} 00:00+00') TO ('{day} 23:59+00')"
            )
        )
        await owner.execute(
            text(
                "INSERT INTO billing.outbox (created_at, event_id, topic, key, sequence, type)"
                f" VALUES ('{day} 12:00+00', gen_random_uuid(), 4, 'k', 1, 't')"
            )
        )
