"""Wait until lookups are answered. The worker records the response in another process, so the rows are polled.

However many requests wait in this process, one query every 50 ms reads all of them, and none holds a connection.
"""

import asyncio
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

# Short compared with a biller's response, long compared with the query.
PAUSE_SECONDS = 0.05

_FINISHED = text(
    "SELECT id FROM lookups WHERE id = ANY(CAST(:ids AS uuid[])) AND state <> 'pending'"
)


class Answers:
    """The requests of this process that wait for a lookup."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._waiting: dict[UUID, asyncio.Event] = {}
        self._waiters: dict[UUID, int] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, lookup_id: UUID, seconds: float) -> bool:
        """Return True when the lookup finishes within this time. Errors of the database are left to the next reader."""
        answered = self._waiting.setdefault(lookup_id, asyncio.Event())
        self._waiters[lookup_id] = self._waiters.get(lookup_id, 0) + 1
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                await answered.wait()
        except TimeoutError:
            return False
        finally:
            self._waiters[lookup_id] -= 1
            if not self._waiters[lookup_id]:
                del self._waiters[lookup_id]
                self._waiting.pop(lookup_id, None)
        return True

    async def _look(self) -> None:
        while self._waiting:
            async with self._engine.connect() as connection:
                rows = await connection.execute(_FINISHED, {"ids": list(self._waiting)})
                for id in rows.scalars():
                    if id in self._waiting:
                        self._waiting[id].set()
            await asyncio.sleep(PAUSE_SECONDS)
