"""Places at institutions are bounded; an institution that is paused or does not answer gives none."""

import asyncio

import pytest

from errands import Booking, Institution, Institutions
from errands.breaker import Breaker
from tests.errands.places import PATIENT, describe, in_line
from tests.errands.test_breaker import Clock


@pytest.fixture
def institutions() -> Institutions:
    return Institutions()


@pytest.fixture
def psp(institutions: Institutions) -> Institution:
    return describe(institutions)


@pytest.fixture
def clock(psp: Institution) -> Clock:
    """The clock of its breaker, which opens after three failures for five seconds."""
    clock = Clock()
    psp.breaker = Breaker(failures=3, pause_seconds=5.0, clock=clock)
    return clock


def break_down(psp: Institution) -> None:
    for _ in range(3):
        psp.report(answered=False)


class TestPlaces:
    def test_places_are_bounded(self, psp: Institution) -> None:
        assert [psp.take_places(1), psp.take_places(5), psp.take_places(1)] == [1, 1, 0]
        psp.leave()
        assert (psp.taken, psp.take_places(5), psp.taken) == (1, 1, 2)

    def test_an_undescribed_institution_has_a_few_places(self, institutions: Institutions) -> None:
        assert institutions.of("biller:new").take_places(100) == 8
        assert institutions.of("biller:new") is institutions.of("biller:new")

    def test_after_a_shrink_no_place_is_free_until_enough_are_given_back(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        assert psp.take_places(2) == 2
        describe(institutions, places=1)
        assert psp.take_places(1) == 0
        psp.leave()
        assert (psp.taken, psp.take_places(1)) == (1, 0)
        psp.leave()
        assert (psp.taken, psp.take_places(2)) == (0, 1)

    def test_new_errands_get_no_place_while_rows_wait(self, psp: Institution) -> None:
        psp.rows_wait = True
        assert psp.reserve_places(1) == 0
        assert psp.take_places(1) == 1, "the dispatcher takes it for the waiting row"
        psp.rows_wait = False
        assert psp.reserve_places(5) == 1

    def test_a_free_place_wakes_the_dispatcher_only_where_rows_wait(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        psp.take_places(2)
        psp.leave()
        assert not institutions.freed.is_set()
        psp.rows_wait = True
        psp.leave()
        assert institutions.freed.is_set()


class TestPause:
    def test_a_paused_institution_gives_no_places(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        institutions.note(paused={"psp"}, due=set())
        assert (psp.take_places(1), psp.reserve_places(1), psp.answers) == (0, 0, False)
        institutions.note(paused=set(), due=set())
        assert psp.take_places(1) == 1

    async def test_waiting_runs_are_refused_when_it_is_paused(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        psp.take_places(2)
        waiting = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        institutions.note(paused={"psp"}, due=set())
        assert await psp.enter(PATIENT) is False
        psp.leave()
        assert await asyncio.gather(*waiting) == [False, False]
        assert psp.taken == 1

    def test_note_stores_where_rows_wait_and_what_is_paused(
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
    async def test_an_open_breaker_gives_no_places(self, psp: Institution) -> None:
        psp.take_places(1)
        break_down(psp)
        assert (psp.take_places(1), psp.reserve_places(1), await psp.enter(PATIENT)) == (
            0,
            0,
            False,
        )

    async def test_waiting_runs_are_refused_when_the_breaker_opens(self, psp: Institution) -> None:
        psp.take_places(2)
        waiting = await in_line(psp.enter(PATIENT), psp.enter(PATIENT))
        break_down(psp)
        psp.leave()
        assert await asyncio.gather(*waiting) == [False, False]
        assert psp.taken == 1

    def test_one_probe_is_admitted_after_the_pause(self, psp: Institution, clock: Clock) -> None:
        break_down(psp)
        clock.now = 5.0
        assert psp.reserve_places(2) == 0, "a new errand is no probe: waiting rows go first"
        assert [psp.take_places(2), psp.take_places(2)] == [1, 0]
        psp.report(answered=True)
        assert psp.take_places(2) == 1
        assert psp.taken == 2

    def test_a_probe_without_a_call_allows_another_probe(
        self, psp: Institution, clock: Clock
    ) -> None:
        break_down(psp)
        clock.now = 5.0
        assert psp.take_places(1) == 1
        psp.leave()
        assert [psp.take_places(1), psp.take_places(1)] == [1, 0]

    def test_an_unanswered_probe_opens_the_breaker_again(
        self, psp: Institution, clock: Clock
    ) -> None:
        break_down(psp)
        clock.now = 5.0
        assert psp.take_places(1) == 1
        psp.report(answered=False)
        psp.leave()
        assert psp.take_places(1) == 0
        clock.now = 10.0
        assert psp.take_places(1) == 1

    def test_an_earlier_run_that_leaves_does_not_cancel_the_probe(
        self, psp: Institution, clock: Clock
    ) -> None:
        """It leaves after the pause, while the probe has no answer yet."""
        psp.take_places(1)
        break_down(psp)
        clock.now = 5.0
        out = psp.take_places(1)
        psp.leave()
        out += psp.take_places(1)
        assert out == 1

    def test_a_full_institution_does_not_use_up_the_probe(
        self, psp: Institution, clock: Clock
    ) -> None:
        psp.take_places(2)
        break_down(psp)
        clock.now = 5.0
        assert psp.take_places(1) == 0
        psp.leave(2)
        assert psp.take_places(1) == 1


class TestBooking:
    async def test_an_error_gives_all_places_back(self, institutions: Institutions) -> None:
        psp = describe(institutions)
        with pytest.raises(ValueError, match="rolled back"):
            async with Booking(institutions) as booking:
                assert booking.hold("psp", 1) == 1
                assert booking.hold("psp", 1) == 1
                assert booking.hold("biller:a", 100) == 8
                booking.leave("biller:a")
                raise ValueError("rolled back")
        assert (psp.taken, institutions.of("biller:a").taken) == (0, 0)

    async def test_without_an_error_the_places_stay_taken(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        async with Booking(institutions) as booking:
            assert booking.hold("psp", 1) == 1
        assert psp.taken == 1

    def test_later_errands_get_no_place_while_earlier_ones_wait(
        self, institutions: Institutions, psp: Institution
    ) -> None:
        booking = Booking(institutions)
        assert booking.hold("psp", 3) == 2
        psp.leave()
        assert booking.hold("psp", 1) == 0
