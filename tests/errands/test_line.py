"""The line at an institution is served in order, waits no longer than a run's patience, and loses no place."""

import asyncio
import random

import pytest

from errands import Institution, Institutions
from errands.breaker import Breaker
from tests.errands.places import PATIENT, describe, in_line, settled
from tests.errands.test_breaker import Clock


@pytest.fixture
def institutions() -> Institutions:
    return Institutions()


@pytest.fixture
def psp(institutions: Institutions) -> Institution:
    return describe(institutions)


class TestLine:
    async def test_the_line_is_served_in_order(self, psp: Institution) -> None:
        psp.take_places(2)
        first, second = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        psp.leave()
        await settled()
        assert (first.done(), second.done()) == (True, False)
        psp.leave()
        assert [await first, await second] == [True, True]
        assert psp.taken == 2

    async def test_the_line_is_bounded(self, psp: Institution) -> None:
        psp.take_places(2)
        await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        assert await psp.enter(PATIENT) is False

    async def test_a_later_run_does_not_overtake_the_line(self, psp: Institution) -> None:
        psp.take_places(2)
        [waiting] = await in_line(psp.enter(PATIENT))
        psp.leave()
        assert psp.take_places(1) == 0, "the place belongs to the first in line"
        assert await waiting

    async def test_a_run_that_times_out_leaves_the_line(self, psp: Institution) -> None:
        psp.take_places(2)
        assert not any(await asyncio.gather(psp.enter(0.01), psp.enter(0.01)))
        [other] = await in_line(psp.enter(PATIENT))
        assert not other.done(), "runs that timed out do not block the line"
        psp.leave()
        assert await other
        assert psp.taken == 2

    @pytest.mark.parametrize("steps", range(8))
    async def test_a_place_given_at_the_moment_of_the_timeout_is_not_lost(
        self, psp: Institution, steps: int
    ) -> None:
        """The place is given `steps` iterations of the event loop after the run began to wait."""
        psp.take_places(2)
        waiting = asyncio.create_task(psp.enter(0.0))
        for _ in range(steps):
            await asyncio.sleep(0)
        psp.leave()
        got = await waiting
        assert psp.taken == 1 + got
        assert psp.take_places(1) == 1 - got

    async def test_a_cancelled_run_in_the_line_is_skipped(self, psp: Institution) -> None:
        psp.take_places(2)
        first, second = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        first.cancel()
        await settled()
        psp.leave()
        assert await second
        assert psp.taken == 2

    @pytest.mark.parametrize("place_first", [True, False])
    async def test_a_run_cancelled_as_it_gets_its_place_passes_the_place_on(
        self, psp: Institution, place_first: bool
    ) -> None:
        psp.take_places(2)
        first, second = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        happening = [psp.leave, first.cancel]
        for each in happening if place_first else reversed(happening):
            each()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second
        assert psp.taken == 2

    async def test_added_places_go_to_the_line_at_once_and_in_order(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        psp.take_places(2)
        first, second = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        describe(institutions, places=3)
        assert psp.take_places(1) == 0, "the line goes first"
        assert await first
        assert not second.done()
        assert psp.taken == 3

    async def test_with_fewer_places_the_line_waits_until_one_is_free(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        psp.take_places(2)
        [waiting] = await in_line(psp.enter(PATIENT))
        describe(institutions, places=1)
        psp.leave()
        await settled()
        assert (waiting.done(), psp.taken) == (False, 1)
        psp.leave()
        assert await waiting
        assert psp.taken == 1


@pytest.mark.parametrize("seed", range(12))
async def test_random_events_neither_lose_nor_invent_a_place(seed: int) -> None:
    """Runs enter, leave, are cancelled and time out; the institution is resized and paused, fails and recovers."""
    dice = random.Random(seed)
    institutions, clock = Institutions(), Clock()
    psp = describe(institutions, places=3, line=4)
    psp.breaker = Breaker(failures=3, pause_seconds=5.0, clock=clock)
    inside = 0
    highest = 3

    async def run(patience_seconds: float, answered: bool) -> None:
        nonlocal inside
        if not await psp.enter(patience_seconds):
            return
        inside += 1
        try:
            assert psp.taken <= highest
            await asyncio.sleep(dice.random() * 0.002)
            if dice.random() < 0.9:
                psp.report(answered=answered)
        finally:
            inside -= 1
            psp.leave()

    running: list[asyncio.Task[None]] = []
    for _ in range(400):
        match dice.randrange(12):
            case 0:
                places = dice.randint(1, 4)
                highest = max(psp.taken, places)
                describe(institutions, places=places, line=4)
            case 1:
                paused = {"psp"} if dice.random() < 0.3 else set()
                institutions.note(paused=paused, due=set())
            case 2:
                clock.now += dice.choice([1.0, 5.0])
            case 3 if running:
                dice.choice(running).cancel()
            case 4:
                if taken := psp.take_places(dice.randint(1, 3)):
                    psp.leave(taken)
            case 5:
                await asyncio.sleep(dice.random() * 0.002)
            case _:
                patience = dice.choice([0.0005, 0.001, PATIENT])
                running.append(asyncio.create_task(run(patience, dice.random() < 0.7)))
        assert 0 <= inside <= psp.taken
        highest = max(psp.places, psp.taken)
        await asyncio.sleep(0)
    institutions.note(paused=set(), due=set())
    await asyncio.wait_for(asyncio.gather(*running, return_exceptions=True), 10)
    assert not [each for each in running if not each.cancelled() and each.exception()]
    assert (psp.taken, inside) == (0, 0)
    clock.now += 5.0
    assert psp.take_places(1) == 1
    psp.report(answered=True)
    psp.leave()
    assert psp.take_places(10) == psp.places
