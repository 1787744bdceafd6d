"""Concurrent writers that, like the services, lock their aggregates' rows before they draw the outbox's ids."""

import asyncio
import random

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.topics import Topic
from messaging.outbox import enqueue
from messaging.transient import is_transient
from tests.messaging.witness import message

_NEXT = text("""
    WITH held AS (SELECT key FROM aggregates WHERE key = ANY(:keys) ORDER BY key FOR UPDATE)
    UPDATE aggregates AS a SET sequence = sequence + 1 FROM held WHERE a.key = held.key
    RETURNING a.key, a.sequence
""")


class Writers:
    """Writers of events about aggregates, many at a time; their transactions commit in any order."""

    def __init__(self, engine: AsyncEngine, topic: Topic, keys: int) -> None:
        self._engine = engine
        self._topic = topic
        self.keys = [f"key-{number}" for number in range(keys)]

    async def prepare(self, owner: AsyncEngine) -> None:
        async with owner.begin() as connection:
            await connection.execute(
                text(
                    "CREATE TABLE billing.aggregates (key text PRIMARY KEY, sequence int NOT NULL)"
                )
            )
            await connection.execute(
                text("GRANT SELECT, UPDATE ON billing.aggregates TO billing_app")
            )
            await connection.execute(
                text("INSERT INTO billing.aggregates SELECT unnest(CAST(:keys AS text[])), 0"),
                {"keys": self.keys},
            )

    async def write(self, tasks: int, transactions: int) -> None:
        """Run this many transactions, shared by this many tasks."""
        left = iter(range(transactions))

        async def work() -> None:
            for _ in left:
                await self._run_transaction()

        await asyncio.gather(*(work() for _ in range(tasks)))

    async def write_until(self, tasks: int, done: asyncio.Event) -> None:
        async def work() -> None:
            while not done.is_set():
                await self._run_transaction()

        await asyncio.gather(*(work() for _ in range(tasks)))

    async def written(self) -> dict[str, int]:
        async with self._engine.connect() as connection:
            rows = await connection.execute(text("SELECT key, sequence FROM aggregates"))
            return {row.key: row.sequence for row in rows}

    async def _run_transaction(self) -> None:
        try:
            async with self._engine.connect() as connection:
                if random.random() < 0.5:
                    # Get a low transaction id first, and then wait for a row that a transaction with a higher id holds.
                    await connection.execute(text("SELECT pg_current_xact_id()::text"))
                chosen = random.sample(self.keys, random.randint(1, 3))
                rows = (await connection.execute(_NEXT, {"keys": chosen})).all()
                await enqueue(
                    connection, [message(self._topic, row.key, row.sequence) for row in rows]
                )
                await asyncio.sleep(random.choice((0, 0, 0.001, 0.02)))
                await (connection.rollback() if random.random() < 0.1 else connection.commit())
        except Exception as error:
            if not is_transient(error):
                raise
