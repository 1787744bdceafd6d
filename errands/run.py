"""One run of an errand: its leg, its place, and the time until which it may begin calls.

The legs report the result of each call to the run; the transaction that records the run writes it to the errand's row.
"""

import time

from errands.institutions import Institutions
from errands.model import Errand

# Retries after 2 s, 4 s, 8 s … and then every 10 minutes for as long as it takes.
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 600.0


def retry_seconds(tries: int) -> float:
    """Return the pause before the next try after this many calls in a row without an answer."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(tries - 1, 20), LONGEST_RETRY_SECONDS)


class ErrandRun:
    """A run of one errand. It has a place at the errand's institution when it begins."""

    def __init__(self, errand: Errand, institutions: Institutions) -> None:
        self.errand = errand
        self.institution = errand.institution
        self.leg = errand.leg
        self.attempt = errand.attempt
        self.unanswered = False
        self._with_new_key = False
        self._wait_seconds: float | None = None
        self._institutions = institutions
        self._ends = time.monotonic() + institutions.lease_seconds
        self._sent = errand.sent_at is not None
        self._has_place = True

    @property
    def seconds_left(self) -> float:
        """The time until the lease of this run ends."""
        return self._ends - time.monotonic()

    @property
    def may_have_been_sent(self) -> bool:
        """True when a call of this leg may have gone out before: query first; a refusal alone proves nothing."""
        return self._sent or self.errand.contested

    @property
    def earlier_calls_are_over(self) -> bool:
        """True when no earlier call here can still take effect."""
        return self.late_effect_seconds_left <= 0

    @property
    def late_effect_seconds_left(self) -> float:
        """The time after which no earlier call here can take effect any more."""
        if self.errand.sent_at is None or not self._sent:
            return 0.0
        age = (self.errand.claimed_at - self.errand.sent_at).total_seconds()
        return max(0.0, self._institutions.of(self.institution).late_effect_seconds - age)

    async def begin(self, leg: str, institution: str) -> bool:
        """Begin this leg at this institution. False: no place or no time, so the errand waits there as a row."""
        if leg != self.leg:
            self.leg, self.attempt = leg, 1
        target = self._institutions.of(institution)
        left = self.seconds_left - target.leg_seconds
        if institution != self.institution:
            self.leave()
            self._sent = False
            self.institution = institution
            self._has_place = left > 0 and await target.enter(left)
        return self._has_place and left > 0

    def report(self, *, answered: bool) -> None:
        """Report to the institution's breaker how a call ended."""
        self._institutions.of(self.institution).report(answered=answered)

    def note_answered(self) -> None:
        """Note that earlier calls are over: their outcome is known and verified."""
        self._sent = False

    def note_unknown(self) -> None:
        """Note that the call of this leg had no answer, or one that cannot be verified."""
        self.unanswered = self._sent = True

    def retry_with_new_key(self) -> None:
        """Note that the call did nothing: the next one carries a new key, which is stored before it is used."""
        self.attempt, self._with_new_key, self._sent = self.errand.attempt + 1, True, False

    def continue_after(self, seconds: float) -> None:
        """Continue this leg in another run, after this pause."""
        self._wait_seconds = seconds

    @property
    def was_sent(self) -> bool:
        """True when a call to this institution has no answer yet: the errand's `sent_at` is kept."""
        return self._sent

    @property
    def tries(self) -> int:
        """The number of calls in a row without a result, this one included."""
        return self.errand.tries + 1 if self.unanswered or self._with_new_key else 0

    @property
    def wait_seconds(self) -> float:
        """The time after which the errand is due again."""
        if self._wait_seconds is not None:
            return self._wait_seconds
        return retry_seconds(self.tries) if self.tries else 0.0

    def leave(self) -> None:
        """Give back the place."""
        if self._has_place:
            self._has_place = False
            self._institutions.of(self.institution).leave()
