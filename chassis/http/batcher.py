"""Put concurrent requests into batches: requests that arrive while a batch is under way share the next batch.

When no batch is under way, the next one starts at once (or after `wait_seconds`) with the requests that wait. So an
idle process answers each request alone and immediately, and a busy one needs one transaction for many requests.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")


class LostBatchError(RuntimeError):
    """A batch ended without a result for each of its items."""


class _Pending(NamedTuple, Generic[ItemT, ResultT]):
    """An item that was submitted, and the future with which its caller waits for the result."""

    item: ItemT
    key: Hashable
    result: "asyncio.Future[ResultT]"


class Batcher(Generic[ItemT, ResultT]):
    """Runs batches of at most `most` items, one after the other.

    When a batch takes longer than `usual_seconds`, the next one starts beside it, so that a batch that hangs does not
    hold up the others; at most `at_once` batches run at the same time. Items of the same `key` are never under way at
    the same time.

    `run` returns a result for each item, in their order; a result that is an exception is raised to its caller alone.
    When `run` itself raises, its batch is halved and run again until the item that causes the error is alone, so `run`
    must change nothing when it raises. An error for which `concerns_all` is true (the database is away) is raised to
    all callers of the batch without such a search.
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
        self._waiting: deque[_Pending[ItemT, ResultT]] = deque()
        self._keys: set[Hashable] = set()  # of the items under way
        self._running: set[asyncio.Task[None]] = set()
        self._current: object = (
            None  # the batch that must end, or become late, before the next one starts
        )
        self._start_scheduled = False

    async def submit(self, item: ItemT, key: Hashable) -> ResultT:
        """Return the item's result. A caller that is cancelled leaves the queue; a batch under way goes on."""
        loop = asyncio.get_running_loop()
        pending: _Pending[ItemT, ResultT] = _Pending(item, key, loop.create_future())
        self._waiting.append(pending)
        if not self._start_scheduled:
            # Scheduled, not started: items that arrive in the same iteration of the event loop join the batch.
            self._start_scheduled = True
            if self._wait_seconds:
                loop.call_later(self._wait_seconds, self._start)
            else:
                loop.call_soon(self._start)
        return await pending.result

    async def drain(self) -> None:
        """Wait until every item has its result."""
        while self._waiting or self._running:
            await asyncio.gather(*self._running)
            await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Cancel the batches under way; their callers get a LostBatchError."""
        while self._waiting:
            _set_result(self._waiting.popleft().result, LostBatchError("closed"))
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def _start(self) -> None:
        self._start_scheduled = False
        if self._current is not None or len(self._running) >= self._at_once:
            return
        if batch := self._next_batch():
            self._current = batch
            task = asyncio.create_task(self._run_batch(batch))
            self._running.add(task)
            task.add_done_callback(self._batch_ended)

    def _batch_ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._start()

    def _batch_is_late(self, batch: object) -> None:
        if self._current is batch:
            self._current = None
            self._start()

    def _next_batch(self) -> list[_Pending[ItemT, ResultT]]:
        batch: list[_Pending[ItemT, ResultT]] = []
        same_key: list[_Pending[ItemT, ResultT]] = []
        while self._waiting and len(batch) < self._most:
            pending = self._waiting.popleft()
            if pending.result.done():
                continue  # its caller was cancelled
            if pending.key in self._keys:
                same_key.append(pending)
            else:
                self._keys.add(pending.key)
                batch.append(pending)
        self._waiting.extendleft(reversed(same_key))
        return batch

    async def _run_batch(self, batch: list[_Pending[ItemT, ResultT]]) -> None:
        loop = asyncio.get_running_loop()
        late_timer = loop.call_later(self._usual_seconds, self._batch_is_late, batch)
        outcomes: Sequence[ResultT | Exception] = ()
        try:
            outcomes = await self._run_or_halve([each.item for each in batch])
        finally:
            if len(outcomes) != len(batch):
                # `run` returned too few or too many results to assign to items, or the task was cancelled.
                lost = LostBatchError(f"{len(outcomes)} results for {len(batch)} items")
                outcomes = [lost] * len(batch)
            for pending, outcome in zip(batch, outcomes, strict=True):
                _set_result(pending.result, outcome)
            self._keys.difference_update(each.key for each in batch)
            late_timer.cancel()
            if self._current is batch:
                self._current = None

    async def _run_or_halve(self, items: Sequence[ItemT]) -> Sequence[ResultT | Exception]:
        try:
            return await self._run(items)
        except Exception as error:
            if len(items) == 1 or self._concerns_all(error):
                return [error] * len(items)
        middle = len(items) // 2
        return [
            *await self._run_or_halve(items[:middle]),
            *await self._run_or_halve(items[middle:]),
        ]


def _set_result(future: "asyncio.Future[ResultT]", outcome: ResultT | Exception) -> None:
    if future.done():
        return
    if isinstance(outcome, Exception):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
