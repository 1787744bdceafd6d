"""Run outside calls concurrently, and record what came of them in batches.

`submit` returns as soon as there is room, so that one slow biller does not hold up the others; what is lost when the
process dies was accepted before, and the timer takes it up again. A call that breaks, and a result that can't be
recorded, are handed to whoever built the runner: they must never be only a line in a log.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from itertools import count
from typing import Generic, TypeVar

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from messaging.transient import backoff_seconds, is_transient

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")
ThingT = TypeVar("ThingT")

# One transaction records at most this many results; a larger one would make the first of them wait for the last.
LARGEST_RECORD = 500

UNRECORDED = Counter(
    "outside_results_unrecorded_total",
    "Calls to the outside that broke, and results that could not be recorded",
    ["item", "what"],
)

log = structlog.get_logger()


class Runner(Generic[ItemT, ResultT]):
    """At most `most_open` items are under way; each takes a place until its result is recorded.

    `broke` gets an item whose call raised, `unrecorded` a result that can't be recorded even alone, each with its
    error. Neither is called for trouble that passes by itself (messaging.transient).
    """

    def __init__(  # noqa: PLR0917
        self,
        engine: AsyncEngine,
        run: Callable[[ItemT], Awaitable[ResultT]],
        record: Callable[[AsyncConnection, Sequence[ResultT]], Awaitable[int]],
        broke: Callable[[ItemT, Exception], Awaitable[None]],
        unrecorded: Callable[[ResultT, Exception], Awaitable[None]],
        most_open: int = 256,
    ) -> None:
        self._engine = engine
        self._run = run
        self._record = record
        self._broke = broke
        self._unrecorded = unrecorded
        self._most_open = most_open
        self._open = 0
        self._changed = asyncio.Condition()
        self._results: asyncio.Queue[ResultT] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._recorder: asyncio.Task[None] | None = None

    @property
    def room(self) -> int:
        """How many items would be started at once."""
        return self._most_open - self._open

    async def submit(self, items: Sequence[ItemT]) -> None:
        """Start the calls of these items; waits for room, not for answers."""
        if items and self._recorder is None:
            self._recorder = asyncio.create_task(self._record_for_ever())
        for item in items:
            async with self._changed:
                await self._changed.wait_for(lambda: self.room > 0)
                self._open += 1
            task = asyncio.create_task(self._run_one(item))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait until everything that was submitted is recorded."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._open == 0)

    async def aclose(self) -> None:
        """Stop without waiting; whatever is under way is left to the timer."""
        tasks = [*self._running, *([self._recorder] if self._recorder else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run_one(self, item: ItemT) -> None:
        try:
            self._results.put_nowait(await self._run(item))
        except Exception as error:
            # A defect of ours must not lose the payment: it stays open, and the timer asks again.
            log.exception("outside_call_failed", item=type(item).__name__)
            if not is_transient(error):
                await self._hand_over("call_broke", self._broke, item, error)
            await self._release(1)

    async def _release(self, places: int) -> None:
        async with self._changed:
            self._open -= places
            self._changed.notify_all()

    async def _record_for_ever(self) -> None:
        while True:
            batch = [await self._results.get()]
            while len(batch) < LARGEST_RECORD and not self._results.empty():
                batch.append(self._results.get_nowait())
            await self._record_batch(batch)
            await self._release(len(batch))

    async def _record_batch(self, batch: Sequence[ResultT]) -> None:
        for attempt in count(1):
            try:
                async with self._engine.begin() as connection:
                    await self._record(connection, batch)
            except Exception as error:
                if is_transient(error):
                    # The database is away: what was brought from outside is kept until it is back.
                    log.warning("record_waits", attempt=attempt, results=len(batch))
                    await asyncio.sleep(backoff_seconds(attempt))
                    continue
                await self._narrow_down(batch, error)
            return

    async def _narrow_down(self, batch: Sequence[ResultT], error: Exception) -> None:
        # One result may be what spoils it for all. Alone it is handed over, and the timer takes its payment up again.
        if len(batch) == 1:
            log.exception("record_failed", result=type(batch[0]).__name__)
            await self._hand_over("unrecorded", self._unrecorded, batch[0], error)
            return
        middle = len(batch) // 2
        await self._record_batch(batch[:middle])
        await self._record_batch(batch[middle:])

    async def _hand_over(
        self,
        what: str,
        take: Callable[[ThingT, Exception], Awaitable[None]],
        thing: ThingT,
        error: Exception,
    ) -> None:
        UNRECORDED.labels(type(thing).__name__, what).inc()
        for attempt in count(1):
            try:
                await take(thing, error)
            except Exception as again:
                if is_transient(again):
                    await asyncio.sleep(backoff_seconds(attempt))
                    continue
                # The timer takes its payment up again, which fails at the same place and is handed over again.
                log.exception("not_handed_over", what=what, item=type(thing).__name__)
            return
