"""Run the errands of one kind concurrently, and record their results in batches.

Each errand has a place before it starts, so starting never waits; the place is given back when the result is recorded.
Errands of a process that dies are claimed again when their lease ends. A call that fails with an error of ours, and a
result that cannot be recorded, are passed to the handler: neither may be no more than a line in a log.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, Protocol, TypeVar

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from errands.model import Errand
from errands.run import ErrandRun
from messaging.pacing import rest_seconds
from messaging.transient import backoff_seconds, is_transient


class HasErrand(Protocol):
    """An item of work (a payment, refund, top-up or lookup) with its errand."""

    @property
    def errand(self) -> Errand: ...


ItemT = TypeVar("ItemT", bound=HasErrand)
ResultT = TypeVar("ResultT")
ThingT = TypeVar("ThingT")

# One transaction records at most this many results; a larger one would make the first of them wait for the last.
LARGEST_RECORD = 500

UNRECORDED = Counter(
    "outside_results_unrecorded_total",
    "External calls that raised an error of ours, and results that could not be recorded",
    ["item", "what"],
)

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class ErrandHandler(Generic[ItemT, ResultT]):
    """The functions that carry out errands of one kind.

    `read` finds the aggregates of claimed errands, and ends the errands of those that have ended. `broke` gets an
    item whose call raised, `unrecorded` a result that cannot be recorded even alone, each with its error. Neither is
    called for transient errors (messaging.transient).
    """

    kind: str
    read: Callable[[AsyncConnection, Sequence[Errand]], Awaitable[Sequence[ItemT]]]
    run: Callable[[ItemT, ErrandRun], Awaitable[ResultT]]
    record: Callable[[AsyncConnection, Sequence[ResultT]], Awaitable[int]]
    broke: Callable[[ItemT, Exception], Awaitable[None]]
    unrecorded: Callable[[ResultT, Exception], Awaitable[None]]


class Runner(Generic[ItemT, ResultT]):
    """The errands of one kind that this process has in hand."""

    def __init__(self, engine: AsyncEngine, handler: ErrandHandler[ItemT, ResultT]) -> None:
        self._engine = engine
        self._handler = handler
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._results: asyncio.Queue[tuple[ResultT, ErrandRun]] = asyncio.Queue()
        self._running: set[asyncio.Task[None]] = set()
        self._recorder: asyncio.Task[None] | None = None

    def start(self, items: Sequence[tuple[ItemT, ErrandRun]]) -> None:
        """Start the calls of these items, each with a place."""
        if items and self._recorder is None:
            self._recorder = asyncio.create_task(self._record_for_ever())
        for item, run in items:
            self._open += 1
            self._idle.clear()
            task = asyncio.create_task(self._run_one(item, run))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def drain(self) -> None:
        """Wait until everything that was started is recorded."""
        await self._idle.wait()

    async def aclose(self) -> None:
        """Stop without waiting; other processes claim the errands under way when their leases end."""
        tasks = [*self._running, *([self._recorder] if self._recorder else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._open = 0
        self._idle.set()

    async def _run_one(self, item: ItemT, run: ErrandRun) -> None:
        try:
            self._results.put_nowait((await self._handler.run(item, run), run))
        except Exception as error:
            # A defect of ours must not lose the payment: it stays open, and is claimed again.
            log.exception("outside_call_failed", item=type(item).__name__)
            if not is_transient(error):
                await self._report_failure("call_broke", self._handler.broke, item, error)
            self._release([run])

    def _release(self, runs: Sequence[ErrandRun]) -> None:
        for each in runs:
            each.leave()
        self._open -= len(runs)
        if not self._open:
            self._idle.set()

    async def _record_for_ever(self) -> None:
        while True:
            batch = [await self._results.get()]
            while len(batch) < LARGEST_RECORD and not self._results.empty():
                batch.append(self._results.get_nowait())
            began = time.monotonic()
            await self._record_batch([result for result, _ in batch])
            self._release([run for _, run in batch])
            if len(batch) < LARGEST_RECORD:
                await asyncio.sleep(rest_seconds(time.monotonic() - began))

    async def _record_batch(self, batch: Sequence[ResultT]) -> None:
        for attempt in count(1):
            try:
                async with self._engine.begin() as connection:
                    await self._handler.record(connection, batch)
            except Exception as error:
                if is_transient(error):
                    # The database is away: the results are kept in memory until it is back.
                    log.warning("record_waits", attempt=attempt, results=len(batch))
                    await asyncio.sleep(backoff_seconds(attempt))
                    continue
                await self._halve(batch, error)
            return

    async def _halve(self, batch: Sequence[ResultT], error: Exception) -> None:
        # One result may be the reason that none can be recorded. It alone is passed to the handler as unrecorded, and
        # its errand is claimed again.
        if len(batch) == 1:
            log.exception("record_failed", result=type(batch[0]).__name__)
            await self._report_failure("unrecorded", self._handler.unrecorded, batch[0], error)
            return
        middle = len(batch) // 2
        await self._record_batch(batch[:middle])
        await self._record_batch(batch[middle:])

    async def _report_failure(
        self,
        what: str,
        report: Callable[[ThingT, Exception], Awaitable[None]],
        thing: ThingT,
        error: Exception,
    ) -> None:
        UNRECORDED.labels(type(thing).__name__, what).inc()
        for attempt in count(1):
            try:
                await report(thing, error)
            except Exception as again:
                if is_transient(again):
                    await asyncio.sleep(backoff_seconds(attempt))
                    continue
                # Its errand is claimed again, fails again and is reported again.
                log.exception("not_handed_over", what=what, item=type(thing).__name__)
            return


AnyRunner = Runner[Any, Any]
