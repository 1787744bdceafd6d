"""Run outside calls concurrently, and record what came of them in batches.

`submit` returns as soon as there is room, so that one slow biller does not hold up the others; what is lost when the
process dies was accepted before, and the timer takes it up again.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

# One transaction records at most this many results; a larger one would make the first of them wait for the last.
LARGEST_RECORD = 500
# The database was away: how long to wait before the results are recorded again, and how often.
RECORD_PAUSE_SECONDS = 0.5
RECORD_ATTEMPTS = 60

log = structlog.get_logger()


class Runner(Generic[ItemT, ResultT]):
    """At most `most_open` items are under way; each takes a place until its result is recorded."""

    def __init__(
        self,
        engine: AsyncEngine,
        run: Callable[[ItemT], Awaitable[ResultT]],
        record: Callable[[AsyncConnection, Sequence[ResultT]], Awaitable[int]],
        most_open: int = 256,
    ) -> None:
        self._engine = engine
        self._run = run
        self._record = record
        self._most_open = most_open
        self._places = asyncio.Semaphore(most_open)
        self._results: asyncio.Queue[ResultT] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._recorder: asyncio.Task[None] | None = None

    async def submit(self, items: Sequence[ItemT]) -> None:
        """Start the calls of these items; waits for room, not for answers."""
        if items and self._recorder is None:
            self._recorder = asyncio.create_task(self._record_for_ever())
        for item in items:
            await self._places.acquire()
            task = asyncio.create_task(self._run_one(item))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait until everything that was submitted is recorded."""
        for _ in range(self._most_open):
            await self._places.acquire()
        for _ in range(self._most_open):
            self._places.release()

    async def aclose(self) -> None:
        """Stop without waiting; whatever is under way is left to the timer."""
        for task in (*self._running, self._recorder):
            if task is not None:
                task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _run_one(self, item: ItemT) -> None:
        try:
            result = await self._run(item)
        except Exception:
            # A defect of ours must not lose the item: it stays open, and the timer asks again.
            log.exception("outside_call_failed", item=type(item).__name__)
            self._places.release()
        except BaseException:
            self._places.release()
            raise
        else:
            self._results.put_nowait(result)

    async def _record_for_ever(self) -> None:
        while True:
            batch = [await self._results.get()]
            while len(batch) < LARGEST_RECORD and not self._results.empty():
                batch.append(self._results.get_nowait())
            try:
                await self._record_batch(batch)
            finally:
                for _ in batch:
                    self._places.release()

    async def _record_batch(self, batch: Sequence[ResultT]) -> None:
        for attempt in range(1, RECORD_ATTEMPTS + 1):
            try:
                async with self._engine.begin() as connection:
                    await self._record(connection, batch)
            except Exception:
                log.exception("record_failed", attempt=attempt, results=len(batch))
                await asyncio.sleep(RECORD_PAUSE_SECONDS)
            else:
                return
            if attempt == 3 and len(batch) > 1:
                # One result may be what spoils it for all: from here on each stands alone.
                for each in batch:
                    await self._record_batch([each])
                return
