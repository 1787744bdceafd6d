"""When an institution answers again, the errands that wait there for a retry are due at once, in order."""

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Dispatcher, Institutions
from errands.breaker import Breaker
from tests.errands.errand_rows import execute
from tests.errands.test_breaker import Clock
from tests.errands.workplace import HANGS, Workplace, left, plant


@pytest.fixture
def clock(institutions: Institutions) -> Clock:
    """The time of the breaker of HANGS, which opens after three failures for five seconds."""
    clock = Clock()
    institutions.of(HANGS).breaker = Breaker(failures=3, pause_seconds=5.0, clock=clock)
    return clock


@pytest.mark.parametrize("new_errands_are_due", [True, False])
async def test_waiting_errands_are_due_in_order_after_the_breaker_closes(
    engine: AsyncEngine,
    dispatcher: Dispatcher,
    work: Workplace,
    clock: Clock,
    new_errands_are_due: bool,
) -> None:
    work.unanswered.add(HANGS)
    ids = await plant(engine, HANGS, 4)
    assert await dispatcher.claim() == 4
    await dispatcher.drain()
    # All wait for a retry that is far off, and the later ones are to be retried before the earlier ones.
    await execute(
        engine,
        """
        UPDATE errands SET due_at = now() + (10 - n) * interval '1 minute',
            leg_since = now() - (10 - n) * interval '1 second'
        FROM unnest(CAST(:ids AS uuid[])) WITH ORDINALITY AS o (id, n) WHERE subject = o.id
        """,
        ids=ids,
    )
    fresh = await plant(engine, HANGS, 2) if new_errands_are_due else []
    await execute(engine, "UPDATE errands SET due_at = now() WHERE subject = ANY(:ids)", ids=fresh)
    assert await dispatcher.claim() == 0, "the breaker is open"
    work.unanswered.clear()
    work.begun.clear()
    clock.now = 5.0
    if not new_errands_are_due:
        assert await dispatcher.claim() == 0, "nothing is due"
        await execute(engine, "UPDATE errands SET due_at = now() WHERE subject = :id", id=ids[0])
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
async def test_a_probe_from_another_institution_makes_waiting_errands_due(
    engine: AsyncEngine,
    dispatcher: Dispatcher,
    work: Workplace,
    clock: Clock,
    institutions: Institutions,
) -> None:
    """A run that came from another institution was the probe; the waiting errands are due although no other errand
    is.
    """
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
