"""The runner of outside calls: bounded, losing no result to a database that is away, and none to a bad neighbour."""

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.billing.runner import Runner


class Calls:
    """Outside calls of a test: `run` answers with the item, `record` keeps what came."""

    def __init__(self) -> None:
        self.under_way = self.most = 0
        self.recorded: list[int] = []
        self.away = 0
        self.poison: int | None = None
        self.passing = False
        self.away_for_cases = 0
        self.broken: list[tuple[int, str]] = []
        self.unrecordable: list[tuple[int, str]] = []

    async def run(self, item: int) -> int:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await asyncio.sleep(0.005)
        self.under_way -= 1
        if item < 0:
            raise ConnectionResetError if self.passing else ValueError("a defect of ours")
        return item

    async def broke(self, item: int, error: Exception) -> None:
        self.broken.append((item, type(error).__name__))
        if item == -1:
            raise ValueError("and nor can that be told")

    async def unrecorded(self, result: int, error: Exception) -> None:
        if self.away_for_cases:
            self.away_for_cases -= 1
            raise ConnectionResetError("the database is away")
        self.unrecordable.append((result, type(error).__name__))

    async def record(self, connection: AsyncConnection, results: Sequence[int]) -> int:
        await connection.execute(text("SELECT 1"))
        if self.away:
            self.away -= 1
            raise ConnectionResetError("the database is away")
        if self.poison in results:
            raise ValueError("this one can't be recorded")
        self.recorded += results
        return len(results)


async def ran(engine: AsyncEngine, calls: Calls, items: Sequence[int], most_open: int = 8) -> None:
    runner: Runner[int, int] = Runner(
        engine, calls.run, calls.record, calls.broke, calls.unrecorded, most_open
    )
    await asyncio.wait_for(runner.submit(items), 10)
    await asyncio.wait_for(runner.drain(), 10)
    assert runner.room == most_open, "every place is free again"
    await runner.aclose()


@pytest.mark.parametrize("most_open", [1, 3, 64])
async def test_so_many_are_under_way_and_no_more(engine: AsyncEngine, most_open: int) -> None:
    calls = Calls()
    await ran(engine, calls, range(40), most_open)
    assert sorted(calls.recorded) == list(range(40))
    assert calls.most == min(most_open, 40)


async def test_a_call_that_breaks_gives_its_place_back(engine: AsyncEngine) -> None:
    calls = Calls()
    await ran(engine, calls, [*range(10), *range(-20, 0), *range(10, 20)], most_open=4)
    assert sorted(calls.recorded) == list(range(20))
    assert sorted(calls.broken) == [(each, "ValueError") for each in range(-20, 0)]


async def test_trouble_that_passes_is_no_broken_call(engine: AsyncEngine) -> None:
    calls = Calls()
    calls.passing = True
    await ran(engine, calls, [-2, -3, 4])
    assert (calls.recorded, calls.broken) == ([4], [])


async def test_results_are_kept_while_the_database_is_away(engine: AsyncEngine) -> None:
    calls = Calls()
    calls.away = 4
    await ran(engine, calls, range(20))
    assert sorted(calls.recorded) == list(range(20))
    assert calls.away == 0


async def test_one_that_cannot_be_recorded_spoils_it_for_nobody(engine: AsyncEngine) -> None:
    calls = Calls()
    calls.poison = 7
    await ran(engine, calls, range(20), most_open=64)
    assert sorted(calls.recorded) == [each for each in range(20) if each != 7]
    assert calls.unrecordable == [(7, "ValueError")]


async def test_what_can_not_be_recorded_waits_for_a_database_that_is_away(
    engine: AsyncEngine,
) -> None:
    calls = Calls()
    calls.poison, calls.away_for_cases = 7, 3
    await ran(engine, calls, range(20))
    assert calls.unrecordable == [(7, "ValueError")]


async def test_stopping_waits_for_nobody(engine: AsyncEngine) -> None:
    calls = Calls()
    runner: Runner[int, int] = Runner(
        engine, calls.run, calls.record, calls.broke, calls.unrecorded
    )
    await runner.submit(range(20))
    await asyncio.wait_for(runner.aclose(), 2)
    assert calls.recorded == []
