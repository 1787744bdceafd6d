"""The dispatcher of a process: an institution that hangs, is paused or fails delays no other, and no errand is lost."""

import asyncio
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import errands
from errands import Dispatcher, Institutions, NewErrand
from errands import dispatcher as dispatcher_module
from tests.errands.errand_rows import execute
from tests.errands.workplace import (
    HANGS,
    OTHER,
    PATIENCE_SECONDS,
    WELL,
    Workplace,
    left,
    plant,
    until,
)
from tests.support.errands import claiming


async def test_a_hanging_institution_does_not_delay_the_others(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace, institutions: Institutions
) -> None:
    gate = work.hang(HANGS)
    stuck = await plant(engine, HANGS, 20)
    async with claiming(dispatcher):
        await until(lambda: len(work.begun[HANGS]) == 4, "all four places are taken")
        for kind in ("payment", "refund"):
            for name in (WELL, OTHER):
                await plant(engine, name, 20, kind)
        await until(
            lambda: len(work.ended[WELL]) == len(work.ended[OTHER]) == 40,
            "the other institutions are done",
        )
        assert (work.most[HANGS], institutions.of(HANGS).taken) == (4, 4)
        gate.set()
        await until(lambda: len(work.ended[HANGS]) == 20, "the one that hung is done as well")
    assert work.begun[HANGS] == stuck, "in the order in which they became due"
    assert work.most[HANGS] == 4
    await dispatcher.drain()
    assert [institutions.of(name).taken for name in (HANGS, WELL, OTHER)] == [0, 0, 0]
    assert await left(engine) == 0


async def test_a_free_place_is_filled_at_once(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The dispatcher does not wait until it reads the table again, which is far off here."""
    ids = await plant(engine, WELL, 40)
    monkeypatch.setattr(dispatcher, "look_seconds", 3_600.0)
    async with claiming(dispatcher):
        await until(lambda: len(work.ended[WELL]) == 40, "one claim leads to the next")
    assert work.begun[WELL] == ids


async def test_new_errands_do_not_overtake_waiting_ones(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace
) -> None:
    gate = work.hang(WELL)
    early = await plant(engine, WELL, 6)
    assert await dispatcher.claim() == 4
    async with dispatcher.booking() as booking:
        assert booking.hold(WELL, 1) == 0
    late = uuid4()
    async with engine.begin() as connection:
        await errands.add(connection, [NewErrand("payment", late, WELL, "call")])
    gate.set()
    async with claiming(dispatcher):
        await until(lambda: len(work.ended[WELL]) == 7, "all are done")
    assert work.begun[WELL] == [*early, late]


async def test_a_paused_institution_gets_no_calls_until_it_is_resumed(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace
) -> None:
    await execute(engine, "INSERT INTO paused_institutions (institution) VALUES (:name)", name=WELL)
    ids = await plant(engine, WELL, 6)
    await plant(engine, OTHER, 6)
    async with claiming(dispatcher):
        await until(lambda: len(work.ended[OTHER]) == 6, "the others go on")
        async with dispatcher.booking() as booking:
            assert booking.hold(WELL, 1) == 0
        assert work.begun[WELL] == []
        await execute(engine, "DELETE FROM paused_institutions")
        await until(lambda: len(work.ended[WELL]) == 6, "the resumed one is done as well")
    assert work.begun[WELL] == ids


async def test_a_failed_claim_gives_all_places_back(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace, institutions: Institutions
) -> None:
    for name in (HANGS, WELL, OTHER):
        await plant(engine, name, 3)
    work.broken = True
    with pytest.raises(ValueError, match="a defect of ours"):
        await dispatcher.claim()
    assert [institutions.of(name).taken for name in (HANGS, WELL, OTHER)] == [0, 0, 0]
    work.broken = False
    assert await dispatcher.claim() == 9, "the errands are still due"
    await dispatcher.drain()
    assert await left(engine) == 0


async def test_the_dispatcher_continues_after_failed_claims(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace
) -> None:
    work.broken = True
    await plant(engine, WELL, 2)
    failed = dispatcher_module.FAILED._value.get()
    async with claiming(dispatcher):
        await until(
            lambda: dispatcher_module.FAILED._value.get() >= failed + 2, "claims are repeated"
        )
        work.broken = False
        await until(lambda: len(work.ended[WELL]) == 2, "errands are run again")


async def test_errands_of_unknown_kinds_are_not_claimed(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace, institutions: Institutions
) -> None:
    """Errands of a newer version are not claimed, and do not delay others."""
    await plant(engine, WELL, 6, "of_the_future")
    ids = await plant(engine, WELL, 2)
    assert await dispatcher.claim() == 2
    await dispatcher.drain()
    assert (work.ended[WELL], institutions.of(WELL).taken) == (ids, 0)
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT fence, held, contested FROM errands"))
        assert {tuple(row) for row in rows} == {(0, False, False)}
    async with dispatcher.booking() as booking:
        assert booking.hold(WELL, 1) == 1, "unknown kinds do not make new errands wait"
        booking.release()


async def test_drain_waits_for_all_calls_under_way(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace
) -> None:
    gate = work.hang(WELL)
    await plant(engine, WELL, 2)
    await plant(engine, OTHER, 2, "refund")
    assert await dispatcher.claim() == 4
    draining = asyncio.create_task(dispatcher.drain())
    await until(lambda: len(work.ended[OTHER]) == 2, "one institution has answered")
    assert not draining.done()
    gate.set()
    await asyncio.wait_for(draining, PATIENCE_SECONDS)
    assert await left(engine) == 0


async def test_closing_does_not_wait_and_leaves_leases_to_expire(
    engine: AsyncEngine, dispatcher: Dispatcher, work: Workplace
) -> None:
    work.hang(WELL)
    await plant(engine, WELL, 2)
    assert await dispatcher.claim() == 2
    await until(lambda: len(work.begun[WELL]) == 2, "both are under way")
    await asyncio.wait_for(dispatcher.aclose(), 2)
    await asyncio.wait_for(dispatcher.drain(), 2)
    assert work.ended[WELL] == []
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT held, due_at > now() FROM errands"))
        assert {tuple(row) for row in rows} == {(True, True)}, "until the leases end"


async def test_cancelling_the_dispatcher_as_a_place_becomes_free_stops_it(
    dispatcher: Dispatcher, institutions: Institutions
) -> None:
    for _ in range(20):
        task = asyncio.create_task(dispatcher.run())
        await asyncio.sleep(0.02)
        institutions.freed.set()
        task.cancel()
        await asyncio.wait_for(asyncio.gather(task, return_exceptions=True), 5)
