"""A run continues from one institution to the next while its lease leaves time for all calls of a leg."""

from datetime import UTC, datetime
from uuid import uuid4

import pytest

from errands import Errand, ErrandRun, Institutions
from errands.institutions import RUN_SECONDS

QUICK, SLOW = "biller:quick", "psp"


@pytest.fixture
def institutions() -> Institutions:
    institutions = Institutions()
    institutions.describe(QUICK, places=1, longest_call_seconds=1.0, late_effect_seconds=60.0)
    institutions.describe(SLOW, places=1, longest_call_seconds=10.0, late_effect_seconds=60.0)
    return institutions


@pytest.fixture
def run(institutions: Institutions) -> ErrandRun:
    institutions.of(QUICK).take_places(1)
    errand = Errand("refund", uuid4(), QUICK, "unapply", datetime.now(UTC))
    return ErrandRun(errand, institutions)


async def test_a_run_continues_at_a_slower_institution(
    institutions: Institutions, run: ErrandRun
) -> None:
    """As a refund does, from the biller to the PSP."""
    assert await run.begin("unapply", QUICK)
    assert await run.begin("refund", SLOW)
    assert (institutions.of(QUICK).taken, institutions.of(SLOW).taken) == (0, 1)
    run.leave()
    run.leave()
    assert institutions.of(SLOW).taken == 0


async def test_a_run_without_a_place_at_the_next_institution_stops_and_waits_there(
    institutions: Institutions, run: ErrandRun
) -> None:
    institutions.of(SLOW).take_places(1)
    assert not await run.begin("refund", SLOW)
    assert (run.leg, run.institution) == ("refund", SLOW)
    run.leave()
    assert (institutions.of(QUICK).taken, institutions.of(SLOW).taken) == (0, 1)


@pytest.mark.parametrize("institution", [QUICK, SLOW])
async def test_a_run_begins_no_leg_for_which_there_is_no_time(
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


async def test_calls_to_the_former_institution_do_not_count_at_the_next(run: ErrandRun) -> None:
    run.note_unknown()
    assert run.may_have_been_sent
    assert await run.begin("refund", SLOW)
    assert not run.may_have_been_sent
