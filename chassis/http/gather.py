"""Gather concurrent requests into batches: requests that arrive while a batch is under way share the next one.

When no batch is under way, one starts at once with the requests that are there (unless `wait_seconds` says
otherwise). So a quiet process answers each request alone and immediately, and a busy one does one transaction for
many.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class LostBatchError(RuntimeError):
    """A batch ended without a result for each of its items."""


class _Place(NamedTuple, Generic[ItemT, ResultT]):
    """One item in the queue, and the future that its caller waits for."""

    item: ItemT
    key: Hashable
    answer: "asyncio.Future[ResultT]"


class Gather(Generic[ItemT, ResultT]):
    """Batches of at most `most` items, one after the other. When a batch takes longer than `usual_seconds`, the next
    one starts beside it, at most `at_once` of them, so that a batch that hangs does not hold up the others.

    `run` returns a result for each item, in their order; a result that is an exception is raised to its caller alone.
    When `run` itself raises, its batch is halved until the item that causes the error is alone, so `run` must leave
    nothing behind when it raises. An error for which `concerns_all` is true (the database is away) goes to all
    callers at once. Items of the same `key` are never under way at the same time.
    """

    def __init__(
        self,
        run: Callable[[Sequence[ItemT]], Awaitable[Sequence[ResultT | Exception]]],
        *,
        concerns_all: Callable[[Exception], bool],
        most: int = 200,
        at_once: int = 4,
        usual_seconds: float = 0.05,
        wait_seconds: float = 0.0,
    ) -> None:
        self._run = run
        self._concerns_all = concerns_all
        self._most = most
        self._at_once = at_once
        self._usual_seconds = usual_seconds
        self._wait_seconds = wait_seconds
        self._waiting: deque[_Place[ItemT, ResultT]] = deque()
        self._keys: set[Hashable] = set()  # of the items under way
        self._running: set[asyncio.Task[None]] = set()
        self._turn: object = None  # the batch that the others wait for
        self._woken = False

    async def ask(self, item: ItemT, key: Hashable) -> ResultT:
        """Return the item's result. A caller that is cancelled leaves the queue; a batch under way goes on."""
        loop = asyncio.get_running_loop()
        place: _Place[ItemT, ResultT] = _Place(item, key, loop.create_future())
        self._waiting.append(place)
        if not self._woken:
            # Scheduled, not started: items that arrive in the same turn of the event loop join the batch.
            self._woken = True
            if self._wait_seconds:
                loop.call_later(self._wait_seconds, self._start)
            else:
                loop.call_soon(self._start)
        return await place.answer

    async def drain(self) -> None:
        """Wait until every item has its result."""
        while self._waiting or self._running:
            await asyncio.gather(*self._running)
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Cancel the batches under way; their callers get a LostBatchError."""
        while self._waiting:
            _settle(self._waiting.popleft().answer, LostBatchError("closed"))
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _start(self) -> None:
        self._woken = False
        if self._turn is not None or len(self._running) >= self._at_once:
            return
        if batch := self._take():
            self._turn = batch
            task = asyncio.create_task(self._serve(batch))
            self._running.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    def _pass_on(self, batch: object) -> None:
        if self._turn is batch:
            self._turn = None
            self._start()

    def _take(self) -> list[_Place[ItemT, ResultT]]:
        batch: list[_Place[ItemT, ResultT]] = []
        held: list[_Place[ItemT, ResultT]] = []
        while self._waiting and len(batch) < self._most:
            place = self._waiting.popleft()
            if place.answer.done():
                continue  # its caller was cancelled
            if place.key in self._keys:
                held.append(place)
            else:
                self._keys.add(place.key)
                batch.append(place)
        self._waiting.extendleft(reversed(held))
        return batch

    async def _serve(self, batch: list[_Place[ItemT, ResultT]]) -> None:
        loop = asyncio.get_running_loop()
        alarm = loop.call_later(self._usual_seconds, self._pass_on, batch)
        outcomes: Sequence[ResultT | Exception] = ()
        try:
            outcomes = await self._outcomes([each.item for each in batch])
        finally:
            if len(outcomes) != len(batch):
                # Results cannot be assigned to items; the same when the task was cancelled.
                lost = LostBatchError(f"{len(outcomes)} results for {len(batch)}")
                outcomes = [lost] * len(batch)
            for place, outcome in zip(batch, outcomes, strict=True):
                _settle(place.answer, outcome)
            self._keys.difference_update(each.key for each in batch)
            alarm.cancel()
            if self._turn is batch:
                self._turn = None

    async def _outcomes(self, items: Sequence[ItemT]) -> Sequence[ResultT | Exception]:
        try:
            return await self._run(items)
        except Exception as error:
            if len(items) == 1 or self._concerns_all(error):
                return [error] * len(items)
        middle = len(items) // 2
        return [*await self._outcomes(items[:middle]), *await self._outcomes(items[middle:])]


def _settle(answer: "asyncio.Future[ResultT]", outcome: ResultT | Exception) -> None:
    if answer.done():
        return
    if isinstance(outcome, Exception):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
