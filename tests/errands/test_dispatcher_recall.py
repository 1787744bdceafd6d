"""An institution that answers again: whatever waits there for another try is due at once, in order."""

from collections.abc import AsyncIterator

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Dispatcher, Institutions
from errands.breaker import Breaker
from tests.errands.errand_rows import run
from tests.errands.test_breaker import Clock
from tests.errands.workplace import HANGS, OTHER, WELL, Workplace, left, plant


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
async def dispatcher(
    engine: AsyncEngine, institutions: Institutions, work: Workplace
) -> AsyncIterator[Dispatcher]:
    made = Dispatcher(engine, institutions)
    for kind in ("payment", "refund"):
        made.register(work.trade(kind))
    yield made
    await made.aclose()


@pytest.fixture
def clock(institutions: Institutions) -> Clock:
    """The time of the breaker of HANGS, which opens after three failures for five seconds."""
    made = Clock()
    institutions.of(HANGS).breaker = Breaker(failures=3, pause_seconds=5.0, clock=made)
    return made


@pytest.mark.parametrize("fresh_ones_wait", [True, False])
async def test_after_its_breaker_has_closed_all_that_waits_there_is_due_in_order(
    engine: AsyncEngine,
    dispatcher: Dispatcher,
    work: Workplace,
    clock: Clock,
    fresh_ones_wait: bool,
) -> None:
    work.unanswered.add(HANGS)
    ids = await plant(engine, HANGS, 4)
    assert await dispatcher.claim() == 4
    await dispatcher.drain()
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
    assert await dispatcher.claim() == 0, "it is open"
    work.unanswered.clear()
    work.begun.clear()
    clock.now = 5.0
    if not fresh_ones_wait:
        assert await dispatcher.claim() == 0, "nothing is due"
        await run(engine, "UPDATE errands SET due_at = now() WHERE subject = :id", id=ids[0])
    assert await dispatcher.claim() == 1, "the probe"
    await dispatcher.drain()
    for _ in range(3):
        await dispatcher.claim()
        await dispatcher.drain()
    probe = work.begun[HANGS][0]
    rest = [each for each in [*ids, *fresh] if each != probe]
    assert work.begun[HANGS][1:] == rest
    assert await left(engine) == 0


@pytest.mark.usefixtures("clock")
async def test_a_breaker_that_opened_while_nothing_was_due_is_noticed(
    engine: AsyncEngine,
    dispatcher: Dispatcher,
    work: Workplace,
    clock: Clock,
    institutions: Institutions,
) -> None:
    """A run from another institution was the probe: what waits for another try is due, although nothing else is."""
    work.unanswered.add(HANGS)
    await plant(engine, HANGS, 3)
    await dispatcher.claim()
    await dispatcher.drain()
    assert await dispatcher.claim() == 0
    clock.now = 5.0
    work.unanswered.clear()
    assert await institutions.of(HANGS).enter(1.0)
    institutions.of(HANGS).report(answered=True)
    institutions.of(HANGS).leave()
    assert await dispatcher.claim() == 3
