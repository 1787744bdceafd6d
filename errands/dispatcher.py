"""The dispatcher of a process: claims errands that are due, as many as the process has places for, and runs them.

Worker and timer each have one. Errands without a place are claimed in the order in which they became due, separately
for each institution.
"""

import asyncio
import contextlib
import time
from collections import defaultdict
from collections.abc import Sequence
from math import inf
from typing import Any

import structlog
from prometheus_client import Counter
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from errands import queue
from errands.institutions import Booking, Institutions
from errands.model import Errand
from errands.run import ErrandRun
from errands.runner import AnyRunner, ErrandHandler, HasErrand, Runner
from messaging.transient import backoff_seconds

# One transaction claims at most this many at one institution.
LARGEST_CLAIM = 256
# The interval at which the table is read while no place becomes free at an institution where errands wait.
LOOK_SECONDS = 0.25
# Places that become free within this time are filled by one claim.
GATHER_SECONDS = 0.01

FAILED = Counter("errand_claims_failed_total", "Claims of errands that failed; each is tried again")

log = structlog.get_logger()


class Dispatcher:
    """Claims and runs the errands of all kinds that are registered in this process."""

    def __init__(
        self,
        engine: AsyncEngine,
        institutions: Institutions,
        look_seconds: float = LOOK_SECONDS,
    ) -> None:
        self.look_seconds = look_seconds
        self.institutions = institutions
        self._engine = engine
        self._handlers: dict[str, ErrandHandler[Any, Any]] = {}
        self._runners: dict[str, AnyRunner] = {}

    def register(self, handler: ErrandHandler[Any, Any]) -> None:
        """Add a kind of errand to those that this process carries out."""
        self._handlers[handler.kind] = handler
        self._runners[handler.kind] = Runner(self._engine, handler)

    def booking(self) -> Booking:
        """Return a booking: places for errands that a transaction is about to write."""
        return Booking(self.institutions)

    def start(self, kind: str, items: Sequence[HasErrand]) -> None:
        """Run these items; each has a place from a booking."""
        self._runners[kind].start(
            [(each, ErrandRun(each.errand, self.institutions)) for each in items]
        )

    async def claim(self, *, look: bool = True) -> int:
        """Claim errands that are due, as far as there are places, and start them; return how many were claimed.

        With `look` false, the table is not searched: errands are claimed only where some are known to wait for a
        place. A kind that this process does not know belongs to a newer version, and is left to processes of that
        version.
        """
        taken: dict[str, int] = {}
        recovered = self.institutions.recovered()
        try:
            async with self._engine.begin() as connection:
                for institution in recovered:
                    await queue.recall(connection, institution.name)
                if look:
                    await self._read_due_and_paused(connection)
                self._take_places(taken)
                claimed = await queue.claim(
                    connection, taken, self.institutions.lease_seconds, list(self._handlers)
                )
                items = await self._read(connection, claimed)
        except BaseException:
            for name, count in taken.items():
                self.institutions.of(name).leave(count)
            raise
        for institution in recovered:
            institution.recovered = False
        self._start(items, claimed, taken)
        return len(claimed)

    async def run(self) -> None:
        """Claim for ever: when a place becomes free where errands wait, and at least every `look_seconds`."""
        failures, looked = 0, -inf
        while True:
            try:
                look = time.monotonic() - looked >= self.look_seconds
                looked = time.monotonic() if look else looked
                await self.claim(look=look)
                failures = 0
            except Exception:
                failures += 1
                FAILED.inc()
                log.exception("claim_failed")
                await asyncio.sleep(backoff_seconds(failures))
            # Not wait_for, which ignores a cancellation that arrives together with the event.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.look_seconds):
                    await self.institutions.freed.wait()
                await asyncio.sleep(GATHER_SECONDS)
            self.institutions.freed.clear()

    async def drain(self) -> None:
        """Wait until the calls under way are answered and recorded."""
        for runner in self._runners.values():
            await runner.drain()

    async def aclose(self) -> None:
        """Stop; errands under way are left to other processes."""
        for runner in self._runners.values():
            await runner.aclose()

    async def _read_due_and_paused(self, connection: AsyncConnection) -> None:
        # Update which institutions are paused, and where errands are due.
        states = await queue.read_due_and_paused(connection)
        self.institutions.note(
            paused={each.institution for each in states if each.paused},
            due={each.institution for each in states if not each.paused},
        )

    def _take_places(self, taken: dict[str, int]) -> None:
        # Takes places where errands wait, and adds them to `taken`.
        for institution in self.institutions.with_waiting_rows():
            if count := institution.take_places(LARGEST_CLAIM):
                taken[institution.name] = count

    async def _read(
        self, connection: AsyncConnection, claimed: Sequence[Errand]
    ) -> dict[str, Sequence[HasErrand]]:
        by_kind: dict[str, list[Errand]] = defaultdict(list)
        for errand in claimed:
            by_kind[errand.kind].append(errand)
        return {
            kind: await self._handlers[kind].read(connection, errands)
            for kind, errands in by_kind.items()
        }

    def _start(
        self,
        items: dict[str, Sequence[HasErrand]],
        claimed: Sequence[Errand],
        taken: dict[str, int],
    ) -> None:
        # A claim that filled all its places at an institution may have left errands behind there.
        claimed_counts: dict[str, int] = defaultdict(int)
        for errand in claimed:
            claimed_counts[errand.institution] += 1
        for name, count in taken.items():
            self.institutions.of(name).rows_wait = claimed_counts[name] == count
        # Give back the places for which there was no errand, or an errand whose aggregate has ended.
        unused = dict(taken)
        for kind, found in items.items():
            for item in found:
                unused[item.errand.institution] -= 1
            self.start(kind, found)
        for name, count in unused.items():
            self.institutions.of(name).leave(count)
