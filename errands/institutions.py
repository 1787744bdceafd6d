"""Institutions as one process sees them: how many errands it may have in hand at each, and which of them answer.

Places bound the share of a process that a slow institution can occupy, so that it holds up no other. A run that comes
from another institution may wait in a short line; every other errand without a place waits as a row.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Self

from prometheus_client import Gauge

from errands.breaker import Breaker

# The places of an institution whose bounds are not described yet.
PLACES = 8
CALL_SECONDS = 5.0
# A run begins no leg after this time.
RUN_SECONDS = 15.0
# The most calls that one leg makes, one after the other: query, call, query again.
CALLS_OF_A_LEG = 3

# A claim is a transaction, so it waits until this share of the places is free (or until the table is read again).
WORTH_A_CLAIM = 0.25

PLACES_TAKEN = Gauge(
    "errand_places_taken",
    "Errands that this process has in hand at an institution",
    ["institution"],
)
BREAKER_OPEN = Gauge(
    "breaker_open",
    "1 while an institution that keeps failing gets no calls, or only a probe",
    ["institution"],
)


@dataclass(slots=True)
class Institution:
    """One institution: its places in this process, its bounds of time, its breaker.

    `longest_call_seconds` bounds one call. `late_effect_seconds` is the time after a call without an answer in which
    its effect may still come.
    """

    name: str
    places: int = PLACES
    line: int = 0
    longest_call_seconds: float = CALL_SECONDS
    late_effect_seconds: float = 60.0
    breaker: Breaker = field(default_factory=Breaker)
    rows_wait: bool = False  # there are due errands in the table without a place
    paused: bool = False  # by an operator
    # It answers again, and the errands that wait for a retry were not made due yet.
    recovered: bool = False
    on_free: Callable[[], None] = lambda: None
    _taken: int = 0
    _gauge: Gauge | None = None
    _line: deque["asyncio.Future[None]"] = field(default_factory=deque)

    @property
    def leg_seconds(self) -> float:
        """The longest time that one leg takes here."""
        return CALLS_OF_A_LEG * self.longest_call_seconds

    @property
    def taken(self) -> int:
        """The number of places that are taken."""
        return self._taken

    @property
    def answers(self) -> bool:
        """True when calls may be made: not paused, and its breaker is closed."""
        return not self.paused and self.breaker.state == "closed"

    def reserve_places(self, wanted: int) -> int:
        """Take places for errands about to be written; none while other errands wait, so that those go first."""
        return self.take_places(wanted) if self.answers and not self.rows_wait else 0

    def take_places(self, wanted: int) -> int:
        """Take up to `wanted` places, or one for a probe after the breaker's pause; return how many were taken."""
        count = min(wanted, self.places - self._taken)
        if self.paused or count <= 0:
            return 0
        if self.breaker.state != "closed":
            # The probe is the only run here: another run that leaves would cancel the probe.
            count = int(self._taken == 0 and self.breaker.admits())
        self._change_taken(count)
        return count

    async def enter(self, patience_seconds: float) -> bool:
        """Take a place for a run that comes from another institution; waits in line for at most `patience_seconds`."""
        if self.take_places(1):
            return True
        if not self.answers or len(self._line) >= self.line:
            return False
        admitted = asyncio.get_running_loop().create_future()
        self._line.append(admitted)
        try:
            async with asyncio.timeout(patience_seconds):
                await asyncio.shield(admitted)
        except BaseException as error:
            if admitted.done():
                self.leave()  # a place was given at the same moment
            else:
                self._line.remove(admitted)
            if isinstance(error, TimeoutError):
                return False
            raise
        if not self.answers:
            self.leave()
        return self.answers

    def leave(self, count: int = 1) -> None:
        """Give places back, first to the runs in line."""
        for _ in range(count):
            # A probe that was not reported on must not keep the breaker half open for ever.
            self.breaker.cancel_probe()
            self._change_taken(-1)
            self._admit_line()
        if self.rows_wait and self._taken <= self.places * (1 - WORTH_A_CLAIM):
            self.on_free()

    def resize(self, places: int, line: int) -> None:
        """Change the number of places and the length of the line; runs that have a place keep it."""
        self.places, self.line = places, line
        self._admit_line()

    def report(self, *, answered: bool) -> None:
        """Report to the breaker how a call ended.

        When the breaker closes again, the dispatcher makes the errands due that wait for a retry here.
        """
        was_closed = self.breaker.state == "closed"
        self.breaker.report(answered)
        if answered and not was_closed:
            self.recovered = True
            self.on_free()
        BREAKER_OPEN.labels(self.name).set(self.breaker.state != "closed")

    def _admit_line(self) -> None:
        while self._line and self._taken < self.places:
            self._change_taken(1)
            self._line.popleft().set_result(None)

    def _change_taken(self, change: int) -> None:
        self._taken += change
        if self._gauge is None:
            self._gauge = PLACES_TAKEN.labels(self.name)
        self._gauge.set(self._taken)


class Institutions:
    """The institutions of one process, by name. An institution whose bounds are not described has a few places."""

    def __init__(self) -> None:
        self._known: dict[str, Institution] = {}
        self._longest_leg_seconds = CALLS_OF_A_LEG * CALL_SECONDS
        # Set when a place is free at an institution where errands wait.
        self.freed = asyncio.Event()

    @property
    def lease_seconds(self) -> float:
        """The lease of an errand: longer than the longest run of legs over all institutions.

        A run begins a leg only while there is time for all calls of that leg, so it is over when the lease ends.
        """
        return RUN_SECONDS + self._longest_leg_seconds

    def of(self, name: str) -> Institution:
        """Return the institution of this name."""
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = Institution(name, on_free=self.freed.set)
        return known

    def describe(
        self,
        name: str,
        *,
        places: int,
        longest_call_seconds: float,
        late_effect_seconds: float,
        line: int = 0,
    ) -> Institution:
        """Set the bounds of an institution; runs under way go on."""
        institution = self.of(name)
        institution.longest_call_seconds = longest_call_seconds
        institution.late_effect_seconds = late_effect_seconds
        institution.resize(places, line)
        self._longest_leg_seconds = max(each.leg_seconds for each in self._known.values())
        return institution

    def with_waiting_rows(self) -> list[Institution]:
        """Return the institutions where errands wait for a place, as far as this process knows."""
        return [each for each in self._known.values() if each.rows_wait]

    def recovered(self) -> list[Institution]:
        """Return the institutions that answer again, and whose waiting errands were not made due yet."""
        return [each for each in self._known.values() if each.recovered]

    def note(self, *, paused: set[str], due: set[str]) -> None:
        """Store the result of reading the table: which institutions are paused, and where due errands wait.

        An institution that was never called can be paused, too.
        """
        for name in paused | due:
            self.of(name)
        for each in self._known.values():
            each.paused = each.name in paused
            each.rows_wait = each.name in due


class Booking:
    """Places for errands that a transaction is about to write. Given back when the block around it raises."""

    def __init__(self, institutions: Institutions) -> None:
        self._institutions = institutions
        self._left: dict[str, int] = {}

    def hold(self, institution: str, wanted: int) -> int:
        """Reserve up to `wanted` places. Errands without one are due at once, for any process with a free place."""
        at = self._institutions.of(institution)
        reserved = at.reserve_places(wanted)
        if reserved < wanted:
            at.rows_wait = True
        self._left[institution] = self._left.get(institution, 0) + reserved
        return reserved

    @property
    def lease_seconds(self) -> float:
        """The lease of an errand that has a place."""
        return self._institutions.lease_seconds

    def leave(self, institution: str) -> None:
        """Give one place back: its errand belongs to another process."""
        self._left[institution] -= 1
        self._institutions.of(institution).leave()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self.release()

    def release(self) -> None:
        """Give all places back: the transaction was rolled back."""
        for name, count in self._left.items():
            self._institutions.of(name).leave(count)
        self._left.clear()
