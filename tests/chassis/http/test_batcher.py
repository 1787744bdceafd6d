"""Whoever comes while a batch is under way shares the next one, and nobody pays for a neighbour."""

import asyncio
from collections.abc import Callable, Sequence

import pytest

from chassis.http.batcher import Batcher, LostBatchError


class Away(Exception):  # noqa: N818
    """Nobody can be served now."""


class Kitchen:
    """Doubles numbers in batches, as soon as it is let; odd wishes are in `spoiled`."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.spoiled: Callable[[Sequence[int]], Exception | None] = lambda items: None

    async def run(self, items: Sequence[int]) -> list[int | Exception]:
        self.batches.append(list(items))
        await self.open.wait()
        if error := self.spoiled(items):
            raise error
        return [ValueError(f"{each} is negative") if each < 0 else each * 2 for each in items]


@pytest.fixture
def kitchen() -> Kitchen:
    return Kitchen()


def gather(
    kitchen: Kitchen, *, most: int = 200, at_once: int = 1, usual_seconds: float = 60.0
) -> Batcher[int, int]:
    return Batcher(
        kitchen.run,
        concerns_all=lambda error: isinstance(error, Away),
        most=most,
        at_once=at_once,
        usual_seconds=usual_seconds,
    )


async def ask_all(made: Batcher[int, int], items: Sequence[int]) -> list["int | BaseException"]:
    return await asyncio.gather(
        *(made.submit(each, key=each) for each in items), return_exceptions=True
    )


async def turns(number: int = 10) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def test_each_gets_its_own_result(kitchen: Kitchen) -> None:
    made = gather(kitchen)
    assert await ask_all(made, range(500)) == [each * 2 for each in range(500)]


async def test_who_comes_while_a_batch_is_under_way_shares_the_next_one(kitchen: Kitchen) -> None:
    made = gather(kitchen)
    kitchen.open.clear()
    first = asyncio.create_task(made.submit(1, 1))
    await turns()
    rest = asyncio.create_task(ask_all(made, [2, 3, 4]))
    await turns()
    assert kitchen.batches == [[1]], "nobody waited for others, and one batch is under way"
    kitchen.open.set()
    assert [await first, *await rest] == [2, 4, 6, 8]
    assert kitchen.batches == [[1], [2, 3, 4]]


async def test_batches_are_bounded_and_so_is_what_is_under_way(kitchen: Kitchen) -> None:
    made = gather(kitchen, most=3, at_once=2, usual_seconds=0)
    kitchen.open.clear()
    asked = asyncio.create_task(ask_all(made, range(8)))
    await turns()
    assert kitchen.batches == [[0, 1, 2], [3, 4, 5]]
    kitchen.open.set()
    assert await asked == [0, 2, 4, 6, 8, 10, 12, 14]
    assert kitchen.batches[2:] == [[6, 7]]


async def test_a_batch_that_takes_long_loses_its_turn(kitchen: Kitchen) -> None:
    made = gather(kitchen, at_once=2, usual_seconds=0.01)
    kitchen.open.clear()
    slow = asyncio.create_task(made.submit(1, 1))
    await turns()
    kitchen.open, hanging = asyncio.Event(), kitchen.open
    kitchen.open.set()
    assert await asyncio.wait_for(ask_all(made, [2, 3]), 5) == [4, 6]
    assert await asyncio.wait_for(made.submit(4, 4), 5) == 8
    assert not slow.done()
    hanging.set()
    assert await slow == 2


async def test_an_exception_among_the_results_is_one_callers(kitchen: Kitchen) -> None:
    answers = await ask_all(gather(kitchen), [1, -2, 3])
    assert (answers[0], answers[2]) == (2, 6)
    assert isinstance(answers[1], ValueError)
    assert kitchen.batches == [[1, -2, 3]], "known in time, so nobody had to try again"


async def test_the_neighbours_of_an_item_that_spoils_its_batch_succeed(kitchen: Kitchen) -> None:
    kitchen.spoiled = lambda items: KeyError(5) if 5 in items else None
    answers = await ask_all(gather(kitchen), range(9))
    assert isinstance(answers.pop(5), KeyError)
    assert answers == [0, 2, 4, 6, 8, 12, 14, 16]


async def test_trouble_that_concerns_all_is_not_searched_for_in_one(kitchen: Kitchen) -> None:
    kitchen.spoiled = lambda items: Away()
    made = gather(kitchen)
    answers = await ask_all(made, range(9))
    assert all(isinstance(each, Away) for each in answers)
    assert len(kitchen.batches) == 1
    kitchen.spoiled = lambda items: None
    assert await made.submit(1, 1) == 2, "and the next one is served"


async def test_the_same_key_is_never_under_way_twice(kitchen: Kitchen) -> None:
    made = gather(kitchen, at_once=3, usual_seconds=0)
    kitchen.open.clear()
    same = [asyncio.create_task(made.submit(each, key="same")) for each in (1, 2, 3)]
    other = asyncio.create_task(made.submit(4, key="other"))
    await turns()
    assert kitchen.batches == [[1, 4]]
    late = asyncio.create_task(made.submit(5, key="late"))
    await turns()
    assert kitchen.batches == [[1, 4], [5]], "who waits for a key holds nobody up"
    kitchen.open.set()
    assert await asyncio.gather(*same, other, late) == [2, 4, 6, 8, 10]
    assert kitchen.batches[2:] == [[2], [3]], "in the order in which they came"


async def test_a_caller_who_goes_takes_nobody_along(kitchen: Kitchen) -> None:
    made = gather(kitchen)
    kitchen.open.clear()
    under_way = [asyncio.create_task(made.submit(each, each)) for each in (1, 2)]
    await turns()
    waiting = [asyncio.create_task(made.submit(each, each)) for each in (3, 4)]
    await turns()
    under_way[0].cancel()
    waiting[0].cancel()
    await turns()
    kitchen.open.set()
    assert [await under_way[1], await waiting[1]] == [4, 8]
    assert kitchen.batches == [[1, 2], [4]], "what was under way went on, the other never began"


async def test_drain_waits_until_everybody_is_answered(kitchen: Kitchen) -> None:
    made = gather(kitchen, most=2)
    await made.drain()
    kitchen.open.clear()
    asked = asyncio.create_task(ask_all(made, range(5)))
    await turns()
    draining = asyncio.create_task(made.drain())
    await turns()
    assert not draining.done()
    kitchen.open.set()
    await draining
    assert kitchen.batches == [[0, 1], [2, 3], [4]]
    assert await asked == [0, 2, 4, 6, 8]


async def test_a_result_that_is_missing_is_nobodys_silence(kitchen: Kitchen) -> None:
    async def forgetful(items: Sequence[int]) -> list[int | Exception]:
        return list(items[1:])

    made = Batcher[int, int](forgetful, concerns_all=lambda _: False)
    answers = await asyncio.wait_for(ask_all(made, [1, 2]), 5)
    assert [type(each) for each in answers] == [LostBatchError, LostBatchError]
    await asyncio.wait_for(made.drain(), 5)


async def test_a_batch_may_wait_for_others_to_come(kitchen: Kitchen) -> None:
    made = Batcher(kitchen.run, concerns_all=lambda _: True, wait_seconds=0.02)
    first = asyncio.create_task(made.submit(1, key=1))
    await turns()
    assert kitchen.batches == []
    second = made.submit(2, key=2)
    assert list(await asyncio.gather(first, second)) == [2, 4]
    assert kitchen.batches == [[1, 2]]


async def test_whoever_waits_when_it_is_closed_hears_of_it(kitchen: Kitchen) -> None:
    kitchen.open.clear()
    made = gather(kitchen)
    under_way = asyncio.create_task(made.submit(1, key=1))
    await turns()
    waiting = asyncio.create_task(made.submit(2, key=2))
    await turns()
    await made.aclose()
    ends = await asyncio.gather(under_way, waiting, return_exceptions=True)
    assert [type(each) for each in ends] == [LostBatchError] * 2
    assert kitchen.batches == [[1]]
