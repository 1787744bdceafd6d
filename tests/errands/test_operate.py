"""Operators list errands and backlogs, pause and resume institutions, retry errands, and read the gauges."""

import asyncio
from collections.abc import Sequence
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from errands import Dispatcher, Errand, ErrandHandler, ErrandRun, Institutions
from errands.gauges import count_errands
from errands.listing import Backlog, backlogs, list_errands
from errands.operate import pause, resume, retry, retry_at

_PLANT = text("""
    INSERT INTO errands (kind, subject, institution, leg, held, due_at, tries, sent_at, unknown_since)
    VALUES (:kind, :subject, :institution, 'apply', :held, now() + :due_in * interval '1 second', :tries,
        CASE WHEN :unknown THEN now() END, CASE WHEN :unknown THEN now() END)
""")
_MANY = text("""
    INSERT INTO errands (kind, subject, institution, leg, held, due_at, unknown_since, sent_at)
    SELECT 'payment', gen_random_uuid(), 'biller:b' || n % 300, 'apply', n % 50 = 0,
        now() + (n % 600 - 300) * interval '1 second', CASE WHEN n % 3 = 0 THEN now() END, now()
    FROM generate_series(1, 100000) n
""")


async def plant(
    engine: AsyncEngine,
    institution: str = "biller:b",
    *,
    kind: str = "payment",
    due_in: float = -1.0,
    held: bool = False,
    unknown: bool = False,
    tries: int = 0,
) -> UUID:
    """Add an errand, by default due since a second ago; return its subject."""
    subject = uuid4()
    async with engine.begin() as connection:
        values = {
            "kind": kind,
            "subject": subject,
            "institution": institution,
            "held": held,
            "due_in": due_in,
            "unknown": unknown,
            "tries": tries,
        }
        await connection.execute(_PLANT, values)
    return subject


async def is_due(engine: AsyncEngine, subject: UUID) -> bool:
    async with engine.connect() as connection:
        query = text("SELECT due_at <= now() FROM errands WHERE subject = :id")
        return bool(await connection.scalar(query, {"id": subject}))


class Process:
    """A process with a dispatcher: `subjects` lists the errands that it ran. Calls wait while `goes_on` is cleared."""

    def __init__(self, engine: AsyncEngine) -> None:
        self.subjects: list[UUID] = []
        self.recorded: list[UUID] = []
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.institutions = Institutions()
        self.dispatcher = Dispatcher(engine, self.institutions)
        self.dispatcher.register(
            ErrandHandler("payment", self._read, self._run, self._record, self._broke, self._broke)
        )

    async def _read(self, _: AsyncConnection, claimed: Sequence[Errand]) -> list["Item"]:
        return [Item(each) for each in claimed]

    async def _run(self, item: "Item", _: ErrandRun) -> Errand:
        self.subjects.append(item.errand.subject)
        await self.goes_on.wait()
        return item.errand

    async def _record(self, connection: AsyncConnection, results: Sequence[Errand]) -> int:
        self.recorded += [each.subject for each in results]
        await connection.execute(
            text("DELETE FROM errands WHERE subject = ANY(:ids)"),
            {"ids": [each.subject for each in results]},
        )
        return len(results)

    async def _broke(self, _: Any, error: Exception) -> None:
        raise error


class Item:
    """An item of work: nothing but its errand."""

    def __init__(self, errand: Errand) -> None:
        self.errand = errand


async def test_backlogs_count_the_errands_of_each_institution(engine: AsyncEngine) -> None:
    await plant(engine, due_in=-90, unknown=True)
    await plant(engine, due_in=60, unknown=True)
    await plant(engine, due_in=15, held=True)
    await plant(engine, due_in=-3, held=True)
    await plant(engine, "psp", due_in=30)
    async with engine.begin() as connection:
        await pause(connection, "biller:c", "maintenance until 4")
        found = await backlogs(connection)
    at_b, at_c, at_psp = found
    assert at_b._replace(oldest_seconds=None) == Backlog("biller:b", 3, 1, 2, None, None, None), (
        "an errand whose lease has ended counts as waiting"
    )
    assert at_b.oldest_seconds == pytest.approx(90, abs=5)
    assert (at_c.institution, at_c.waiting, at_c.under_way) == ("biller:c", 0, 0)
    assert at_c.paused_at is not None
    assert at_c.note == "maintenance until 4"
    assert at_psp == Backlog("psp", 1, 0, 0, None, None, None), (
        "an errand that is due later has no age"
    )


async def test_the_list_is_ordered_by_due_time(engine: AsyncEngine) -> None:
    later = await plant(engine, due_in=60, tries=3)
    first = await plant(engine, "psp", due_in=-60, unknown=True)
    refund = await plant(engine, kind="refund", held=True, due_in=5)
    async with engine.connect() as connection:
        found = await list_errands(connection)
        assert [each.subject for each in found] == [first, refund, later]
        assert [each.under_way for each in found] == [False, True, False]
        assert [each.tries for each in found] == [0, 0, 3]
        assert [each.unknown_since is not None for each in found] == [True, False, False]
        at_psp = await list_errands(connection, institution="psp")
        assert [each.subject for each in at_psp] == [first]
        refunds = await list_errands(connection, kind="refund")
        assert [each.subject for each in refunds] == [refund]
        assert len(await list_errands(connection, limit=2)) == 2


async def test_pausing_again_keeps_the_start_and_replaces_the_note(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        first = await pause(connection, "psp", "announced outage")
    async with engine.begin() as connection:
        again = await pause(connection, "psp")
    assert (first.is_new, again.is_new) == (True, False)
    assert (again.paused_at, again.note) == (first.paused_at, "announced outage")
    async with engine.begin() as connection:
        assert (await pause(connection, "psp", "for longer")).note == "for longer"
        assert await resume(connection, "psp") == first.paused_at
        assert await resume(connection, "psp") is None


async def test_retry_makes_waiting_errands_due_but_not_held_ones(engine: AsyncEngine) -> None:
    waiting = await plant(engine, due_in=500)
    held = await plant(engine, due_in=20, held=True)
    due = await plant(engine)
    elsewhere = await plant(engine, "psp", due_in=500)
    async with engine.begin() as connection:
        assert await retry_at(connection, "biller:b") == (1, 1, 1, [])
    assert await is_due(engine, waiting)
    assert not await is_due(engine, held)
    assert await is_due(engine, due)
    assert not await is_due(engine, elsewhere)
    async with engine.begin() as connection:
        await pause(connection, "psp")
        keys = [("payment", elsewhere), ("payment", held), ("refund", elsewhere)]
        assert await retry(connection, keys) == (1, 1, 0, ["psp"])
        assert await retry(connection, []) == (0, 0, 0, [])
    assert await is_due(engine, elsewhere)


async def test_retry_skips_locked_rows(engine: AsyncEngine) -> None:
    """A row that another transaction has locked is not changed."""
    locked, free = await plant(engine, due_in=500), await plant(engine, due_in=500)
    async with engine.connect() as other, other.begin():
        query = text("SELECT FROM errands WHERE subject = :id FOR UPDATE")
        await other.execute(query, {"id": locked})
        async with asyncio.timeout(5), engine.begin() as connection:
            assert (await retry_at(connection, "biller:b")).made_due == 1
    assert await is_due(engine, free)


async def test_a_pause_stops_claims_and_new_places_and_lets_calls_finish(
    engine: AsyncEngine,
) -> None:
    process = Process(engine)
    process.goes_on.clear()
    under_way = await plant(engine)
    assert await process.dispatcher.claim() == 1
    async with engine.begin() as connection:
        await pause(connection, "biller:b")
    waiting = await plant(engine)
    assert await process.dispatcher.claim() == 0
    assert process.dispatcher.booking().hold("biller:b", 1) == 0, "a new errand gets no place"
    process.goes_on.set()
    await process.dispatcher.drain()
    assert process.recorded == [under_way]
    async with engine.begin() as connection:
        await resume(connection, "biller:b")
    assert await process.dispatcher.claim() == 1
    await process.dispatcher.drain()
    assert process.recorded == [under_way, waiting]
    assert process.dispatcher.booking().hold("biller:b", 1) == 1
    await process.dispatcher.aclose()


async def test_every_process_sees_a_pause_within_a_second(engine: AsyncEngine) -> None:
    """Also of an institution that has no errand yet and that no process knows."""
    processes = [Process(engine), Process(engine)]
    loops = [asyncio.create_task(each.dispatcher.run()) for each in processes]

    async def until(paused: bool) -> None:
        async with asyncio.timeout(1.0):
            for each in processes:
                while each.institutions.of("biller:new").paused is not paused:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)

    async with engine.begin() as connection:
        await pause(connection, "biller:new")
    await until(paused=True)
    assert [each.dispatcher.booking().hold("biller:new", 3) for each in processes] == [0, 0]
    async with engine.begin() as connection:
        await resume(connection, "biller:new")
    await until(paused=False)
    assert [each.dispatcher.booking().hold("biller:new", 3) for each in processes] == [3, 3]
    for each in loops:
        each.cancel()
    await asyncio.gather(*loops, return_exceptions=True)


async def test_gauges_return_to_zero(engine: AsyncEngine) -> None:
    def gauges() -> list[float | None]:
        labels = {"institution": "biller:gauged"}
        names = ("waiting", "oldest_seconds", "unknown", "held")
        return [
            *(REGISTRY.get_sample_value(f"errands_{name}", labels) for name in names),
            REGISTRY.get_sample_value("institution_paused", labels),
        ]

    await plant(engine, "biller:gauged", due_in=-40, unknown=True)
    await plant(engine, "biller:gauged", due_in=40)
    await plant(engine, "biller:gauged", due_in=40, held=True)
    async with engine.begin() as connection:
        await pause(connection, "biller:gauged")
    assert await count_errands(engine) == 0
    assert gauges() == [2.0, pytest.approx(40, abs=5), 1.0, 1.0, 1.0]
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM errands"))
        await resume(connection, "biller:gauged")
    await count_errands(engine)
    assert gauges() == [0.0] * 5


@pytest.mark.alone
async def test_counting_a_hundred_thousand_errands_takes_less_than_half_a_second(
    engine: AsyncEngine,
) -> None:
    """The timer counts every five seconds: half a second would be a tenth of a processor, and a defect."""
    async with engine.begin() as connection:
        await connection.execute(_MANY)
    async with engine.connect() as connection:
        await backlogs(connection)
        began = asyncio.get_running_loop().time()
        found = await backlogs(connection)
        took = asyncio.get_running_loop().time() - began
    print(f"counted in {took:.3f} s")
    assert len(found) == 300
    assert sum(each.waiting + each.under_way for each in found) == 100_000
    assert took < 0.5
