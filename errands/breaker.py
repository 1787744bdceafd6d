"""A circuit breaker: an institution that keeps failing gets no calls for a while, and then one call as a probe.

Closed: calls go through. Open: nothing is sent. Half open: one call decides.
"""

import time
from collections.abc import Callable


class Breaker:
    """Open for `pause_seconds` after `failures` failed calls in a row, then half open: one probe at a time."""

    def __init__(
        self,
        failures: int = 5,
        pause_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = failures
        self._pause_seconds = pause_seconds
        self._clock = clock
        self._failures = 0
        self._open_until = 0.0
        self._probing = False

    def admits(self) -> bool:
        """Return True when a call may go out now.

        The result of the call let through while half open must be reported.
        """
        if self._failures < self._limit:
            return True
        if self._probing or self._clock() < self._open_until:
            return False
        self._probing = True
        return True

    def report(self, answered: bool) -> None:
        """Report how a call ended: answered (refusals count as answers) or not."""
        self._probing = False
        if answered:
            self._failures = 0
            return
        self._failures += 1
        if self._failures >= self._limit:
            self._open_until = self._clock() + self._pause_seconds

    def cancel_probe(self) -> None:
        """Report that a call which was let through has no result: it never went out, or was not awaited."""
        self._probing = False

    @property
    def state(self) -> str:
        """Return closed, open or half_open."""
        if self._failures < self._limit:
            return "closed"
        return "open" if self._clock() < self._open_until else "half_open"
