"""Places at institutions: bounded, handed on in the order of the line, never lost, and never below nothing."""

import asyncio
import random
from collections.abc import Awaitable

import pytest

from errands import Booking, Institution, Institutions
from errands.breaker import Breaker
from tests.errands.test_breaker import Clock

# Longer than any of these tests takes.
PATIENT = 30.0


def describe(at: Institutions, places: int = 2, line: int = 2) -> Institution:
    """The institution of a test, with so many places and so long a line."""
    return at.describe(
        "psp", places=places, line=line, longest_call_seconds=1.0, late_effect_seconds=60.0
    )


@pytest.fixture
def institutions() -> Institutions:
    return Institutions()


@pytest.fixture
def psp(institutions: Institutions) -> Institution:
    return describe(institutions)


@pytest.fixture
def clock(psp: Institution) -> Clock:
    """The time of its breaker, which opens after three failures for five seconds."""
    made = Clock()
    psp.breaker = Breaker(failures=3, pause_seconds=5.0, clock=made)
    return made


async def in_line(*entering: Awaitable[bool]) -> list[asyncio.Task[bool]]:
    """These stand in line, in this order."""
    tasks = [asyncio.ensure_future(each) for each in entering]
    await settled()
    return [task for task in tasks if isinstance(task, asyncio.Task)]


async def settled() -> None:
    """Everybody who can go on has gone on."""
    for _ in range(5):
        await asyncio.sleep(0)


def break_down(psp: Institution) -> None:
    for _ in range(3):
        psp.report(answered=False)


class TestPlaces:
    def test_there_are_only_so_many(self, psp: Institution) -> None:
        assert [psp.take(1), psp.take(5), psp.take(1)] == [1, 1, 0]
        psp.leave()
        assert (psp.taken, psp.take(5), psp.taken) == (1, 1, 2)

    def test_an_institution_that_nobody_described_has_a_few(
        self, institutions: Institutions
    ) -> None:
        assert institutions.of("biller:new").take(100) == 8
        assert institutions.of("biller:new") is institutions.of("biller:new")

    def test_fewer_places_than_are_taken_let_nobody_in_until_there_is_room(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        assert psp.take(2) == 2
        describe(institutions, places=1)
        assert psp.take(1) == 0
        psp.leave()
        assert (psp.taken, psp.take(1)) == (1, 0)
        psp.leave()
        assert (psp.taken, psp.take(2)) == (0, 1)

    def test_errands_that_are_written_overtake_no_row_that_waits(self, psp: Institution) -> None:
        psp.rows_wait = True
        assert psp.reserve(1) == 0
        assert psp.take(1) == 1, "the desk takes it for the row"
        psp.rows_wait = False
        assert psp.reserve(5) == 1

    def test_a_free_place_wakes_the_desk_only_where_rows_wait(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        psp.take(2)
        psp.leave()
        assert not institutions.freed.is_set()
        psp.rows_wait = True
        psp.leave()
        assert institutions.freed.is_set()


class TestLine:
    async def test_it_is_served_in_order(self, psp: Institution) -> None:
        psp.take(2)
        first, second = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        psp.leave()
        await settled()
        assert (first.done(), second.done()) == (True, False)
        psp.leave()
        assert [await first, await second] == [True, True]
        assert psp.taken == 2

    async def test_it_is_bounded(self, psp: Institution) -> None:
        psp.take(2)
        await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        assert await psp.enter(PATIENT) is False

    async def test_whoever_comes_later_takes_no_place_of_the_line(self, psp: Institution) -> None:
        psp.take(2)
        [waiting] = await in_line(psp.enter(PATIENT))
        psp.leave()
        assert psp.take(1) == 0, "the place is the first in line's already"
        assert await waiting

    async def test_patience_ends_and_makes_room_for_others(self, psp: Institution) -> None:
        psp.take(2)
        assert not any(await asyncio.gather(psp.enter(0.01), psp.enter(0.01)))
        [other] = await in_line(psp.enter(PATIENT))
        assert not other.done(), "those who have left are in nobody's way"
        psp.leave()
        assert await other
        assert psp.taken == 2

    @pytest.mark.parametrize("steps", range(8))
    async def test_a_place_that_comes_as_the_patience_ends_is_not_lost(
        self, psp: Institution, steps: int
    ) -> None:
        """So many steps of the loop after the run came to stand in line."""
        psp.take(2)
        waiting = asyncio.create_task(psp.enter(0.0))
        for _ in range(steps):
            await asyncio.sleep(0)
        psp.leave()
        got = await waiting
        assert psp.taken == 1 + got
        assert psp.take(1) == 1 - got

    async def test_whoever_is_cancelled_in_line_is_passed_over(self, psp: Institution) -> None:
        psp.take(2)
        first, second = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        first.cancel()
        await settled()
        psp.leave()
        assert await second
        assert psp.taken == 2

    @pytest.mark.parametrize("place_first", [True, False])
    async def test_whoever_is_cancelled_as_its_place_comes_passes_it_on(
        self, psp: Institution, place_first: bool
    ) -> None:
        psp.take(2)
        first, second = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        happening = [psp.leave, first.cancel]
        for each in happening if place_first else reversed(happening):
            each()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second
        assert psp.taken == 2

    async def test_more_places_serve_the_line_at_once_and_in_order(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        psp.take(2)
        first, second = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        describe(institutions, places=3)
        assert psp.take(1) == 0, "nobody overtakes"
        assert await first
        assert not second.done()
        assert psp.taken == 3

    async def test_fewer_places_serve_it_when_there_is_room(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        psp.take(2)
        [waiting] = await in_line(psp.enter(PATIENT))
        describe(institutions, places=1)
        psp.leave()
        await settled()
        assert (waiting.done(), psp.taken) == (False, 1)
        psp.leave()
        assert await waiting
        assert psp.taken == 1


class TestPause:
    def test_nothing_goes_to_one_that_is_paused(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        institutions.note(paused={"psp"}, due=set())
        assert (psp.take(1), psp.reserve(1), psp.answers) == (0, 0, False)
        institutions.note(paused=set(), due=set())
        assert psp.take(1) == 1

    async def test_those_in_line_are_turned_away(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        psp.take(2)
        waiting = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        institutions.note(paused={"psp"}, due=set())
        assert await psp.enter(PATIENT) is False
        psp.leave()
        assert await asyncio.gather(*waiting) == [False, False]
        assert psp.taken == 1

    def test_a_look_keeps_where_rows_wait(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        institutions.note(paused={"biller:a"}, due={"psp"})
        assert psp.rows_wait
        assert institutions.of("biller:a").paused
        institutions.note(paused=set(), due=set())
        assert not psp.rows_wait
        assert not institutions.of("biller:a").paused


@pytest.mark.usefixtures("clock")
class TestBreaker:
    async def test_nothing_goes_out_while_it_is_open(self, psp: Institution) -> None:
        psp.take(1)
        break_down(psp)
        assert (psp.take(1), psp.reserve(1), await psp.enter(PATIENT)) == (0, 0, False)

    async def test_those_in_line_are_turned_away_when_it_opens(self, psp: Institution) -> None:
        psp.take(2)
        waiting = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        break_down(psp)
        psp.leave()
        assert await asyncio.gather(*waiting) == [False, False]
        assert psp.taken == 1

    def test_after_the_pause_one_probe_goes_out(self, psp: Institution, clock: Clock) -> None:
        break_down(psp)
        clock.now = 5.0
        assert psp.reserve(2) == 0, "what is written now is no probe: rows wait for longer"
        assert [psp.take(2), psp.take(2)] == [1, 0]
        psp.report(answered=True)
        assert psp.take(2) == 1
        assert psp.taken == 2

    def test_a_probe_that_asked_nothing_leaves_room_for_the_next(
        self, psp: Institution, clock: Clock
    ) -> None:
        break_down(psp)
        clock.now = 5.0
        assert psp.take(1) == 1
        psp.leave()
        assert [psp.take(1), psp.take(1)] == [1, 0]

    def test_a_probe_that_was_not_answered_is_the_last_for_a_while(
        self, psp: Institution, clock: Clock
    ) -> None:
        break_down(psp)
        clock.now = 5.0
        assert psp.take(1) == 1
        psp.report(answered=False)
        psp.leave()
        assert psp.take(1) == 0
        clock.now = 10.0
        assert psp.take(1) == 1

    def test_a_run_from_before_is_not_taken_for_the_probe(
        self, psp: Institution, clock: Clock
    ) -> None:
        """It leaves after the pause, while the probe has no answer yet."""
        psp.take(1)
        break_down(psp)
        clock.now = 5.0
        out = psp.take(1)
        psp.leave()
        out += psp.take(1)
        assert out == 1

    def test_a_full_institution_uses_up_no_probe(self, psp: Institution, clock: Clock) -> None:
        psp.take(2)
        break_down(psp)
        clock.now = 5.0
        assert psp.take(1) == 0
        psp.leave(2)
        assert psp.take(1) == 1


class TestBooking:
    async def test_an_error_gives_every_place_back(self, institutions: Institutions) -> None:
        psp = describe(institutions)
        with pytest.raises(ValueError, match="rolled back"):
            async with Booking(institutions) as booking:
                assert booking.hold("psp", 1) == 1
                assert booking.hold("psp", 1) == 1
                assert booking.hold("biller:a", 100) == 8
                booking.leave("biller:a")
                raise ValueError("rolled back")
        assert (psp.taken, institutions.of("biller:a").taken) == (0, 0)

    async def test_without_one_they_are_kept(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        async with Booking(institutions) as booking:
            assert booking.hold("psp", 1) == 1
        assert psp.taken == 1

    def test_rows_without_a_place_wait_before_those_that_come_later(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        booking = Booking(institutions)
        assert booking.hold("psp", 3) == 2
        psp.leave()
        assert booking.hold("psp", 1) == 0


@pytest.mark.parametrize("seed", range(12))
async def test_whatever_happens_no_place_is_lost_and_none_is_made_up(seed: int) -> None:
    """Runs come and go, are cancelled and lose patience; the institution is resized, paused, breaks down and heals."""
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
                if taken := psp.take(dice.randint(1, 3)):
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
    assert psp.take(1) == 1
    psp.report(answered=True)
    psp.leave()
    assert psp.take(10) == psp.places
