"""The desk of a process: institutions that hang, pause or break down hold up nobody else, and nobody loses a turn."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import NamedTuple
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import errands
from errands import Desk, Errand, Institutions, NewErrand, Trade, Turn
from errands import desk as desk_module
from errands.breaker import Breaker
from tests.errands.test_breaker import Clock
from tests.support.errands import claiming

HANGS, WELL, OTHER = "biller:hangs", "biller:well", "psp"
PATIENCE_SECONDS = 10.0


class Job(NamedTuple):
    """What is worked on."""

    errand: Errand


class Done(NamedTuple):
    """A job that was run."""

    job: Job
    turn: Turn


class Workplace:
    """Two trades: `begun` and `ended` tell which errands were run, by institution, in order."""

    def __init__(self) -> None:
        self.begun: dict[str, list[UUID]] = defaultdict(list)
        self.ended: dict[str, list[UUID]] = defaultdict(list)
        self.unanswered: set[str] = set()
        self.broken = False
        self._gates: dict[str, asyncio.Event] = {}
        self.at_once: dict[str, int] = defaultdict(int)
        self.most: dict[str, int] = defaultdict(int)

    def hang(self, institution: str) -> asyncio.Event:
        """Its calls wait for the event."""
        return self._gates.setdefault(institution, asyncio.Event())

    def trade(self, kind: str) -> Trade[Job, Done]:
        return Trade(kind, self._read, self._run, self._record, self._broke, self._broke)

    async def _read(self, _: AsyncConnection, claimed: Sequence[Errand]) -> list[Job]:
        if self.broken:
            raise ValueError("a defect of ours")
        return [Job(each) for each in claimed]

    async def _run(self, job: Job, turn: Turn) -> Done:
        name = turn.institution
        self.begun[name].append(job.errand.subject)
        self.at_once[name] += 1
        self.most[name] = max(self.most[name], self.at_once[name])
        try:
            if gate := self._gates.get(name):
                await gate.wait()
        finally:
            self.at_once[name] -= 1
        turn.report(answered=name not in self.unanswered)
        if name in self.unanswered:
            turn.unknown()
        return Done(job, turn)

    async def _record(self, connection: AsyncConnection, results: Sequence[Done]) -> int:
        await errands.lock(connection, [each.job.errand for each in results])
        unanswered = [each.turn for each in results if each.turn.unanswered]
        await errands.settle(connection, unanswered)
        done = [each.job.errand for each in results if not each.turn.unanswered]
        await errands.end(connection, [each.key for each in done])
        for each in done:
            self.ended[each.institution].append(each.subject)
        return len(results)

    async def _broke(self, _: object, error: Exception) -> None:
        raise error


@pytest.fixture
def work() -> Workplace:
    return Workplace()


@pytest.fixture
def institutions() -> Institutions:
    made = Institutions()
    for name in (HANGS, WELL, OTHER):
        made.describe(name, places=4, line=4, longest_call_seconds=1.0, late_effect_seconds=60.0)
    return made


@pytest.fixture
async def desk(
    engine: AsyncEngine, institutions: Institutions, work: Workplace
) -> AsyncIterator[Desk]:
    made = Desk(engine, institutions)
    for kind in ("payment", "refund"):
        made.register(work.trade(kind))
    yield made
    await made.aclose()


async def until(condition: object, what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    assert callable(condition)
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.002)


async def plant(
    engine: AsyncEngine, institution: str, count: int, kind: str = "payment"
) -> list[UUID]:
    """So many errands that are due, in this order."""
    ids = [uuid4() for _ in range(count)]
    async with engine.begin() as connection:
        await errands.add(connection, [NewErrand(kind, id, institution, "call") for id in ids])
        await connection.execute(
            text("""
                UPDATE errands SET due_at = now() - interval '1 minute' + n * interval '1 millisecond'
                FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS o (id, n) WHERE subject = o.id
            """),
            {"ids": ids},
        )
    return ids


async def run(engine: AsyncEngine, statement: str, **values: object) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def left(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM errands")) or 0)


async def test_one_that_hangs_holds_up_nobody(
    engine: AsyncEngine, desk: Desk, work: Workplace, institutions: Institutions
) -> None:
    gate = work.hang(HANGS)
    stuck = await plant(engine, HANGS, 20)
    async with claiming(desk):
        await until(lambda: len(work.begun[HANGS]) == 4, "it has its four places")
        for kind in ("payment", "refund"):
            for name in (WELL, OTHER):
                await plant(engine, name, 20, kind)
        await until(
            lambda: len(work.ended[WELL]) == len(work.ended[OTHER]) == 40, "everybody else is done"
        )
        assert (work.most[HANGS], institutions.of(HANGS).taken) == (4, 4)
        gate.set()
        await until(lambda: len(work.ended[HANGS]) == 20, "and so is this one in the end")
    assert work.begun[HANGS] == stuck, "in the order in which they became due"
    assert work.most[HANGS] == 4
    await desk.drain()
    assert [institutions.of(name).taken for name in (HANGS, WELL, OTHER)] == [0, 0, 0]
    assert await left(engine) == 0


async def test_a_place_that_gets_free_is_filled_at_once(
    engine: AsyncEngine, desk: Desk, work: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The desk does not wait for its next look, which is far off here."""
    ids = await plant(engine, WELL, 40)
    monkeypatch.setattr(desk_module, "LOOK_SECONDS", 3_600.0)
    async with claiming(desk):
        await until(lambda: len(work.ended[WELL]) == 40, "one claim leads to the next")
    assert work.begun[WELL] == ids


async def test_rows_that_are_written_while_others_wait_overtake_nobody(
    engine: AsyncEngine, desk: Desk, work: Workplace
) -> None:
    gate = work.hang(WELL)
    early = await plant(engine, WELL, 6)
    assert await desk.claim() == 4
    async with desk.booking() as booking:
        assert booking.hold(WELL, 1) == 0
    late = uuid4()
    async with engine.begin() as connection:
        await errands.add(connection, [NewErrand("payment", late, WELL, "call")])
    gate.set()
    async with claiming(desk):
        await until(lambda: len(work.ended[WELL]) == 7, "all are done")
    assert work.begun[WELL] == [*early, late]


async def test_one_that_is_paused_is_left_alone_and_goes_on_after(
    engine: AsyncEngine, desk: Desk, work: Workplace
) -> None:
    await run(engine, "INSERT INTO paused_institutions (institution) VALUES (:name)", name=WELL)
    ids = await plant(engine, WELL, 6)
    await plant(engine, OTHER, 6)
    async with claiming(desk):
        await until(lambda: len(work.ended[OTHER]) == 6, "the others go on")
        async with desk.booking() as booking:
            assert booking.hold(WELL, 1) == 0
        assert work.begun[WELL] == []
        await run(engine, "DELETE FROM paused_institutions")
        await until(lambda: len(work.ended[WELL]) == 6, "and now this one")
    assert work.begun[WELL] == ids


@pytest.fixture
def clock(institutions: Institutions) -> Clock:
    """The time of the breaker of HANGS, which opens after three failures for five seconds."""
    made = Clock()
    institutions.of(HANGS).breaker = Breaker(failures=3, pause_seconds=5.0, clock=made)
    return made


@pytest.mark.parametrize("fresh_ones_wait", [True, False])
async def test_after_its_breaker_has_closed_all_that_waits_there_is_due_in_order(
    engine: AsyncEngine, desk: Desk, work: Workplace, clock: Clock, fresh_ones_wait: bool
) -> None:
    work.unanswered.add(HANGS)
    ids = await plant(engine, HANGS, 4)
    assert await desk.claim() == 4
    await desk.drain()
    # Each waits for another try, the later ones by chance before the earlier ones; and the next one is far off.
    await run(
        engine,
        """
        UPDATE errands SET due_at = now() + (10 - n) * interval '1 minute',
            leg_since = now() - (10 - n) * interval '1 second'
        FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS o (id, n) WHERE subject = o.id
        """,
        ids=ids,
    )
    fresh = await plant(engine, HANGS, 2) if fresh_ones_wait else []
    await run(engine, "UPDATE errands SET due_at = now() WHERE subject = ANY(:ids)", ids=fresh)
    assert await desk.claim() == 0, "it is open"
    work.unanswered.clear()
    work.begun.clear()
    clock.now = 5.0
    if not fresh_ones_wait:
        assert await desk.claim() == 0, "nothing is due"
        await run(engine, "UPDATE errands SET due_at = now() WHERE subject = :id", id=ids[0])
    assert await desk.claim() == 1, "the probe"
    await desk.drain()
    for _ in range(3):
        await desk.claim()
        await desk.drain()
    probe = work.begun[HANGS][0]
    rest = [each for each in [*ids, *fresh] if each != probe]
    assert work.begun[HANGS][1:] == rest
    assert await left(engine) == 0


@pytest.mark.usefixtures("clock")
async def test_a_breaker_that_opened_while_nothing_was_due_is_noticed(
    engine: AsyncEngine, desk: Desk, work: Workplace, clock: Clock, institutions: Institutions
) -> None:
    """A run from another institution was the probe: what waits for another try is due, although nothing else is."""
    work.unanswered.add(HANGS)
    await plant(engine, HANGS, 3)
    await desk.claim()
    await desk.drain()
    assert await desk.claim() == 0
    clock.now = 5.0
    work.unanswered.clear()
    assert await institutions.of(HANGS).enter(1.0)
    institutions.of(HANGS).report(answered=True)
    institutions.of(HANGS).leave()
    assert await desk.claim() == 3


async def test_a_claim_that_fails_gives_all_places_back(
    engine: AsyncEngine, desk: Desk, work: Workplace, institutions: Institutions
) -> None:
    for name in (HANGS, WELL, OTHER):
        await plant(engine, name, 3)
    work.broken = True
    with pytest.raises(ValueError, match="a defect of ours"):
        await desk.claim()
    assert [institutions.of(name).taken for name in (HANGS, WELL, OTHER)] == [0, 0, 0]
    work.broken = False
    assert await desk.claim() == 9, "they are due as before"
    await desk.drain()
    assert await left(engine) == 0


async def test_a_desk_outlives_claims_that_fail(
    engine: AsyncEngine, desk: Desk, work: Workplace
) -> None:
    work.broken = True
    await plant(engine, WELL, 2)
    failed = desk_module.FAILED._value.get()
    async with claiming(desk):
        await until(lambda: desk_module.FAILED._value.get() >= failed + 2, "it tries again")
        work.broken = False
        await until(lambda: len(work.ended[WELL]) == 2, "and works when it can")


async def test_kinds_that_it_does_not_know_are_left_alone(
    engine: AsyncEngine, desk: Desk, work: Workplace, institutions: Institutions
) -> None:
    """Those of a newer version: neither claimed again and again, nor in the way of the others."""
    await plant(engine, WELL, 6, "of_the_future")
    ids = await plant(engine, WELL, 2)
    assert await desk.claim() == 2
    await desk.drain()
    assert (work.ended[WELL], institutions.of(WELL).taken) == (ids, 0)
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT fence, held, contested FROM errands"))
        assert {tuple(row) for row in rows} == {(0, False, False)}
    async with desk.booking() as booking:
        assert booking.hold(WELL, 1) == 1, "they make nobody wait"
        booking.release()


async def test_it_drains(engine: AsyncEngine, desk: Desk, work: Workplace) -> None:
    gate = work.hang(WELL)
    await plant(engine, WELL, 2)
    await plant(engine, OTHER, 2, "refund")
    assert await desk.claim() == 4
    draining = asyncio.create_task(desk.drain())
    await until(lambda: len(work.ended[OTHER]) == 2, "one institution has answered")
    assert not draining.done()
    gate.set()
    await asyncio.wait_for(draining, PATIENCE_SECONDS)
    assert await left(engine) == 0


async def test_closing_waits_for_nobody_and_leaves_the_rest_to_others(
    engine: AsyncEngine, desk: Desk, work: Workplace
) -> None:
    work.hang(WELL)
    await plant(engine, WELL, 2)
    assert await desk.claim() == 2
    await until(lambda: len(work.begun[WELL]) == 2, "both are under way")
    await asyncio.wait_for(desk.aclose(), 2)
    await asyncio.wait_for(desk.drain(), 2)
    assert work.ended[WELL] == []
    async with engine.connect() as connection:
        rows = await connection.execute(text("SELECT held, due_at > now() FROM errands"))
        assert {tuple(row) for row in rows} == {(True, True)}, "until the leases end"
