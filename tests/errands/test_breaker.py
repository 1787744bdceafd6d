"""The breaker opens after failures in a row, tries one call after a pause, and closes when that is answered."""

import pytest

from errands.breaker import Breaker


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def opened(clock: Clock) -> Breaker:
    breaker = Breaker(failures=3, pause_seconds=5.0, clock=clock)
    for _ in range(3):
        assert breaker.admits()
        breaker.report(answered=False)
    return breaker


def test_only_consecutive_failures_open_the_breaker(clock: Clock) -> None:
    breaker = Breaker(failures=3, clock=clock)
    for answered in (False, False, True, False, False):
        breaker.report(answered)
    assert breaker.state == "closed"
    breaker.report(answered=False)
    assert breaker.state == "open"
    assert not breaker.admits()


def test_after_the_pause_one_call_decides(opened: Breaker, clock: Clock) -> None:
    clock.now = 5.0
    assert opened.state == "half_open"
    assert opened.admits()
    assert not opened.admits()
    opened.report(answered=False)
    assert opened.state == "open"
    clock.now = 9.9
    assert not opened.admits()
    clock.now = 10.0
    assert opened.admits()
    opened.report(answered=True)
    assert opened.state == "closed"
    assert opened.admits()
    assert opened.admits()


def test_a_cancelled_probe_allows_another_probe(opened: Breaker, clock: Clock) -> None:
    clock.now = 5.0
    assert opened.admits()
    opened.cancel_probe()
    assert opened.state == "half_open"
    assert opened.admits()
