"""A run goes on from one institution to the next while there is time for all calls of a leg, and stops in good time."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from errands import Errand, ErrandRun, Institutions
from errands.institutions import RUN_SECONDS

QUICK, SLOW = "biller:quick", "psp"


@pytest.fixture
def institutions() -> Institutions:
    made = Institutions()
    made.describe(QUICK, places=1, longest_call_seconds=1.0, late_effect_seconds=60.0)
    made.describe(SLOW, places=1, longest_call_seconds=10.0, late_effect_seconds=60.0)
    return made


@pytest.fixture
def errand_run(institutions: Institutions) -> ErrandRun:
    institutions.of(QUICK).take_places(1)
    errand = Errand("refund", uuid4(), QUICK, "unapply", datetime.now(UTC))
    return ErrandRun(errand, institutions)


async def test_it_goes_on_from_a_quick_one_to_a_slow_one(
    institutions: Institutions, run: ErrandRun
) -> None:
    """As a refund does, from the biller to the PSP."""
    assert await run.begin("unapply", QUICK)
    assert await run.begin("refund", SLOW)
    assert (institutions.of(QUICK).taken, institutions.of(SLOW).taken) == (0, 1)
    run.leave()
    run.leave()
    assert institutions.of(SLOW).taken == 0


async def test_where_there_is_no_place_it_stops_and_waits_there_as_a_row(
    institutions: Institutions, run: ErrandRun
) -> None:
    institutions.of(SLOW).take_places(1)
    assert not await run.begin("refund", SLOW)
    assert (run.leg, run.institution) == ("refund", SLOW)
    run.leave()
    assert (institutions.of(QUICK).taken, institutions.of(SLOW).taken) == (0, 1)


@pytest.mark.parametrize("institution", [QUICK, SLOW])
async def test_it_begins_nothing_for_which_there_is_no_time(
    institutions: Institutions,
    run: ErrandRun,
    institution: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passed = institutions.lease_seconds - institutions.of(institution).leg_seconds
    monkeypatch.setattr(run, "_ends", run._ends - passed)
    assert not await run.begin("refund", institution)
    run.leave()
    assert institutions.of(institution).taken == 0


def test_a_lease_outlasts_every_run(institutions: Institutions) -> None:
    assert institutions.lease_seconds == RUN_SECONDS + 3 * 10.0
    assert Institutions().lease_seconds > RUN_SECONDS


async def test_what_was_sent_here_is_over_elsewhere(run: ErrandRun) -> None:
    run.note_unknown()
    assert run.may_have_been_sent
    assert await run.begin("refund", SLOW)
    assert not run.may_have_been_sent
