"""The runner loses no result while the database is unreachable, nor because another result cannot be recorded."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple
from uuid import uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from errands import Errand, ErrandHandler, ErrandRun, Institution, Institutions
from errands.runner import Runner

PLACES = 64


class Item(NamedTuple):
    """An item of work with its errand."""

    number: int
    errand: Errand


class Calls:
    """Calls of a test: `run` returns the item's number, `record` stores the results."""

    def __init__(self) -> None:
        self.recorded: list[int] = []
        self.records_fail = 0
        self.poison: int | None = None
        self.raises_transient = False
        self.reports_fail = 0
        self.broken: list[tuple[int, str]] = []
        self.unrecordable: list[tuple[int, str]] = []

    async def read(self, _: AsyncConnection, __: Sequence[Errand]) -> list[Item]:
        return []

    async def run(self, item: Item, _: ErrandRun) -> int:
        await asyncio.sleep(0.005)
        if item.number < 0:
            raise ConnectionResetError if self.raises_transient else ValueError("a defect of ours")
        return item.number

    async def broke(self, item: Item, error: Exception) -> None:
        self.broken.append((item.number, type(error).__name__))
        if item.number == -1:
            raise ValueError("reporting fails, too")

    async def unrecorded(self, result: int, error: Exception) -> None:
        if self.reports_fail:
            self.reports_fail -= 1
            raise ConnectionResetError("the database is away")
        self.unrecordable.append((result, type(error).__name__))

    async def record(self, connection: AsyncConnection, results: Sequence[int]) -> int:
        await connection.execute(text("SELECT 1"))
        if self.records_fail:
            self.records_fail -= 1
            raise ConnectionResetError("the database is away")
        if self.poison in results:
            raise ValueError("this result cannot be recorded")
        self.recorded += results
        return len(results)


def started(
    engine: AsyncEngine, calls: Calls, items: Sequence[int]
) -> tuple[Runner[Item, int], Institution]:
    institutions = Institutions()
    at = institutions.describe(
        "psp", places=PLACES, longest_call_seconds=1.0, late_effect_seconds=1.0
    )
    assert at.take_places(len(items)) == len(items)
    handler = ErrandHandler(
        "test", calls.read, calls.run, calls.record, calls.broke, calls.unrecorded
    )
    runner: Runner[Item, int] = Runner(engine, handler)
    new = [
        Item(each, Errand("test", uuid4(), "psp", "authorize", datetime.now(UTC))) for each in items
    ]
    runner.start([(each, ErrandRun(each.errand, institutions)) for each in new])
    return runner, at


async def ran(engine: AsyncEngine, calls: Calls, items: Sequence[int]) -> None:
    runner, at = started(engine, calls, items)
    await asyncio.wait_for(runner.drain(), 10)
    assert at.taken == 0, "every place is free again"
    await runner.aclose()


async def test_a_call_that_raises_gives_its_place_back(engine: AsyncEngine) -> None:
    calls = Calls()
    await ran(engine, calls, [*range(10), *range(-20, 0), *range(10, 20)])
    assert sorted(calls.recorded) == list(range(20))
    assert sorted(calls.broken) == [(each, "ValueError") for each in range(-20, 0)]


async def test_a_transient_error_is_not_reported_as_a_broken_call(engine: AsyncEngine) -> None:
    calls = Calls()
    calls.raises_transient = True
    await ran(engine, calls, [-2, -3, 4])
    assert (calls.recorded, calls.broken) == ([4], [])


async def test_results_are_kept_while_the_database_is_unreachable(engine: AsyncEngine) -> None:
    calls = Calls()
    calls.records_fail = 4
    await ran(engine, calls, range(20))
    assert sorted(calls.recorded) == list(range(20))
    assert calls.records_fail == 0


async def test_a_result_that_cannot_be_recorded_does_not_stop_the_others(
    engine: AsyncEngine,
) -> None:
    calls = Calls()
    calls.poison = 7
    await ran(engine, calls, range(20))
    assert sorted(calls.recorded) == [each for each in range(20) if each != 7]
    assert calls.unrecordable == [(7, "ValueError")]


async def test_reporting_an_unrecordable_result_is_retried_until_the_database_is_back(
    engine: AsyncEngine,
) -> None:
    calls = Calls()
    calls.poison, calls.reports_fail = 7, 3
    await ran(engine, calls, range(20))
    assert calls.unrecordable == [(7, "ValueError")]


async def test_closing_does_not_wait_for_calls(engine: AsyncEngine) -> None:
    calls = Calls()
    runner, _ = started(engine, calls, range(20))
    await asyncio.wait_for(runner.aclose(), 2)
    assert calls.recorded == []
