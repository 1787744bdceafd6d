"""Items submitted while a batch is under way share the next one, and one item's error does not fail the others."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from chassis.http.batcher import Batcher, LostBatchError


class UnreachableError(Exception):
    """An error that concerns all items."""


class Doubler:
    """Doubles numbers in batches, once `open` is set; `error_of` may return the error that a batch raises."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error_of: Callable[[Sequence[int]], Exception | None] = lambda items: None

    async def run(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await self.open.wait()
        if error := self.error_of(items):
            raise error
        return [ValueError(f"{each} is negative") if each < 0 else each * 2 for each in items]


@pytest.fixture
def doubler() -> Doubler:
    return Doubler()


def batcher_of(
    doubler: Doubler, *, most: int = 200, at_once: int = 1, usual_seconds: float = 60.0
) -> Batcher[int, int]:
    return Batcher(
        doubler.run,
        concerns_all=lambda error: isinstance(error, UnreachableError),
        most=most,
        at_once=at_once,
        usual_seconds=usual_seconds,
    )


async def submit_all(
    batcher: Batcher[int, int], items: Sequence[int]
) -> list["int | BaseException"]:
    return await asyncio.gather(
        *(batcher.submit(each, key=each) for each in items), return_exceptions=True
    )


async def let_tasks_run(iterations: int = 10) -> None:
    for _ in range(iterations):
        await asyncio.sleep(0)


async def test_each_caller_gets_its_own_result(doubler: Doubler) -> None:
    batcher = batcher_of(doubler)
    assert await submit_all(batcher, range(500)) == [each * 2 for each in range(500)]


async def test_items_submitted_during_a_batch_share_the_next_one(doubler: Doubler) -> None:
    batcher = batcher_of(doubler)
    doubler.open.clear()
    first = asyncio.create_task(batcher.submit(1, 1))
    await let_tasks_run()
    rest = asyncio.create_task(submit_all(batcher, [2, 3, 4]))
    await let_tasks_run()
    assert doubler.batches == [[1]], (
        "the first batch started at once, and is the only one under way"
    )
    doubler.open.set()
    assert [await first, *await rest] == [2, 4, 6, 8]
    assert doubler.batches == [[1], [2, 3, 4]]


async def test_the_size_and_the_number_of_batches_are_bounded(doubler: Doubler) -> None:
    batcher = batcher_of(doubler, most=3, at_once=2, usual_seconds=0)
    doubler.open.clear()
    submitted = asyncio.create_task(submit_all(batcher, range(8)))
    await let_tasks_run()
    assert doubler.batches == [[0, 1, 2], [3, 4, 5]]
    doubler.open.set()
    assert await submitted == [0, 2, 4, 6, 8, 10, 12, 14]
    assert doubler.batches[2:] == [[6, 7]]


async def test_the_next_batch_starts_beside_a_slow_one(doubler: Doubler) -> None:
    batcher = batcher_of(doubler, at_once=2, usual_seconds=0.01)
    doubler.open.clear()
    slow = asyncio.create_task(batcher.submit(1, 1))
    await let_tasks_run()
    doubler.open, hanging = asyncio.Event(), doubler.open
    doubler.open.set()
    assert await asyncio.wait_for(submit_all(batcher, [2, 3]), 5) == [4, 6]
    assert await asyncio.wait_for(batcher.submit(4, 4), 5) == 8
    assert not slow.done()
    hanging.set()
    assert await slow == 2


async def test_an_exception_among_the_results_is_raised_to_one_caller(doubler: Doubler) -> None:
    results = await submit_all(batcher_of(doubler), [1, -2, 3])
    assert (results[0], results[2]) == (2, 6)
    assert isinstance(results[1], ValueError)
    assert doubler.batches == [[1, -2, 3]], "no batch was run again"


async def test_one_failing_item_does_not_fail_the_rest_of_its_batch(doubler: Doubler) -> None:
    doubler.error_of = lambda items: KeyError(5) if 5 in items else None
    results = await submit_all(batcher_of(doubler), range(9))
    assert isinstance(results.pop(5), KeyError)
    assert results == [0, 2, 4, 6, 8, 12, 14, 16]


async def test_an_error_that_concerns_all_is_raised_without_halving(doubler: Doubler) -> None:
    doubler.error_of = lambda items: UnreachableError()
    batcher = batcher_of(doubler)
    results = await submit_all(batcher, range(9))
    assert all(isinstance(each, UnreachableError) for each in results)
    assert len(doubler.batches) == 1
    doubler.error_of = lambda items: None
    assert await batcher.submit(1, 1) == 2, "the next item is served"


async def test_items_of_one_key_are_never_under_way_together(doubler: Doubler) -> None:
    batcher = batcher_of(doubler, at_once=3, usual_seconds=0)
    doubler.open.clear()
    same = [asyncio.create_task(batcher.submit(each, key="same")) for each in (1, 2, 3)]
    other = asyncio.create_task(batcher.submit(4, key="other"))
    await let_tasks_run()
    assert doubler.batches == [[1, 4]]
    late = asyncio.create_task(batcher.submit(5, key="late"))
    await let_tasks_run()
    assert doubler.batches == [[1, 4], [5]], "an item that waits for its key does not delay others"
    doubler.open.set()
    assert await asyncio.gather(*same, other, late) == [2, 4, 6, 8, 10]
    assert doubler.batches[2:] == [[2], [3]], "in the order of submission"


async def test_a_cancelled_caller_does_not_affect_the_others(doubler: Doubler) -> None:
    batcher = batcher_of(doubler)
    doubler.open.clear()
    under_way = [asyncio.create_task(batcher.submit(each, each)) for each in (1, 2)]
    await let_tasks_run()
    waiting = [asyncio.create_task(batcher.submit(each, each)) for each in (3, 4)]
    await let_tasks_run()
    under_way[0].cancel()
    waiting[0].cancel()
    await let_tasks_run()
    doubler.open.set()
    assert [await under_way[1], await waiting[1]] == [4, 8]
    assert doubler.batches == [[1, 2], [4]], (
        "the batch under way went on; the cancelled item never began"
    )


async def test_drain_waits_until_every_item_has_its_result(doubler: Doubler) -> None:
    batcher = batcher_of(doubler, most=2)
    await batcher.drain()
    doubler.open.clear()
    submitted = asyncio.create_task(submit_all(batcher, range(5)))
    await let_tasks_run()
    draining = asyncio.create_task(batcher.drain())
    await let_tasks_run()
    assert not draining.done()
    doubler.open.set()
    await draining
    assert doubler.batches == [[0, 1], [2, 3], [4]]
    assert await submitted == [0, 2, 4, 6, 8]


async def test_a_missing_result_is_raised_to_all_callers_of_the_batch(doubler: Doubler) -> None:
    async def drop_first(items: Sequence[int]) -> list[int | Exception]:
        return list(items[1:])

    batcher = Batcher[int, int](drop_first, concerns_all=lambda _: False)
    results = await asyncio.wait_for(submit_all(batcher, [1, 2]), 5)
    assert [type(each) for each in results] == [LostBatchError, LostBatchError]
    await asyncio.wait_for(batcher.drain(), 5)


async def test_a_batch_can_wait_for_more_items(doubler: Doubler) -> None:
    batcher = Batcher(doubler.run, concerns_all=lambda _: True, wait_seconds=0.02)
    first = asyncio.create_task(batcher.submit(1, key=1))
    await let_tasks_run()
    assert doubler.batches == []
    second = batcher.submit(2, key=2)
    assert list(await asyncio.gather(first, second)) == [2, 4]
    assert doubler.batches == [[1, 2]]


async def test_closing_raises_to_waiting_callers(doubler: Doubler) -> None:
    doubler.open.clear()
    batcher = batcher_of(doubler)
    under_way = asyncio.create_task(batcher.submit(1, key=1))
    await let_tasks_run()
    waiting = asyncio.create_task(batcher.submit(2, key=2))
    await let_tasks_run()
    await batcher.aclose()
    ends = await asyncio.gather(under_way, waiting, return_exceptions=True)
    assert [type(each) for each in ends] == [LostBatchError] * 2
    assert doubler.batches == [[1]]
