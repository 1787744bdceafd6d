"""The sender: claims due deliveries, sends them outside any transaction, and records the outcomes in sets.

Attempts run concurrently, each lane in its own places; while the database is busy with one set, the next one gathers.
Delivery is at least once: after a sender dies between sending and recording, the delivery is sent again. A delivery
that the database refuses is found by halving and ended by itself (bury.py), so that it stops no other.
"""

import asyncio
import contextlib
import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from messaging.transient import backoff_seconds
from services.notifications import metrics
from services.notifications.deliveries.bury import bury, of_attempt, of_unclaimed
from services.notifications.deliveries.claim import Lane, claim, claim_these, list_due
from services.notifications.deliveries.narrow import is_of_a_row, narrow
from services.notifications.deliveries.outcomes import (
    Delivered,
    Delivery,
    Later,
    Never,
    Outcome,
    Outlet,
)
from services.notifications.deliveries.record import MOST_ATTEMPTS, Attempt, record
from services.notifications.recipients.addresses import channel_ids

# The interval at which due deliveries are claimed; no payer waits on a screen for a mail or webhook.
POLL_SECONDS = 0.25
# The interval at which new channels are noticed.
CHANNELS_SECONDS = 5.0

log = structlog.get_logger()


class Sender:
    """Sends over `outlets`, by medium; `places` is how many attempts of one lane may run at once, by medium."""

    def __init__(
        self, engine: AsyncEngine, outlets: Mapping[str, Outlet], places: Mapping[str, int]
    ) -> None:
        self._engine = engine
        self._outlets = outlets
        self._places = places
        self._running: Tally[Lane] = Tally()
        self._tasks: set[asyncio.Task[None]] = set()
        self._finished: list[Attempt] = []
        self._attempt_finished = asyncio.Event()
        self._channels: list[str] = []
        self._channels_until = 0.0
        self._stopping = False
        # Deliveries that the database allows neither to claim nor to end.
        self._stuck: set[UUID] = set()

    async def run(self) -> None:
        """Send until `stop`, then finish the attempts under way."""
        failures = 0
        while not self._stopping:
            self._attempt_finished.clear()
            try:
                busy = await self._record_and_claim()
            except Exception as error:
                # Finished attempts are kept in memory; if a lease ends meanwhile, its delivery is sent again.
                failures += 1
                log.warning("sender_failed", error=type(error).__name__)
                await asyncio.sleep(backoff_seconds(failures))
                continue
            failures = 0
            if not busy:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(POLL_SECONDS):
                        await self._attempt_finished.wait()
        await self.drain()

    def stop(self) -> None:
        """Stop claiming. Do not cancel `run`: deliveries that it has just claimed would wait for their lease to end."""
        self._stopping = True
        self._attempt_finished.set()

    async def run_once(self) -> int:
        """Attempt all due deliveries, as far as there are places, and wait for them; return how many there were."""
        self._channels_until = 0.0
        await self._record_and_claim()
        tried = len(self._tasks)
        await self.drain()
        return tried

    async def drain(self) -> None:
        """Wait for the attempts under way, which their timeouts bound, and record them."""
        await asyncio.gather(*self._tasks)
        await self._record_and_claim(claiming=False)

    async def _record_and_claim(self, *, claiming: bool = True) -> int:
        """Record finished attempts and claim due deliveries; return the number of rows.

        In one transaction, unless the database refuses it: then separately, so that the refused row is found and ended.
        """
        finished = self._finished[:]
        try:
            return await self._record_and_claim_together(finished, claiming=claiming)
        except Exception as error:
            if not is_of_a_row(error):
                raise
            log.warning(
                "record_and_claim_refused", error=type(error).__name__, finished=len(finished)
            )
        await self._record_apart(finished)
        return len(finished) + (await self._claim_apart() if claiming else 0)

    async def _record_and_claim_together(
        self, finished: Sequence[Attempt], *, claiming: bool
    ) -> int:
        claimed, counted = [], 0
        async with self._engine.begin() as connection:
            if finished:
                counted = await record(connection, finished)
            if claiming:
                await self._refresh_channels(connection)
                claimed = await claim(connection, self._free_places(), self._stuck)
        self._forget_recorded(finished, counted)
        self._start_attempts(claimed)
        return len(finished) + len(claimed)

    async def _record_apart(self, finished: Sequence[Attempt]) -> None:
        async def record_all(attempts: Sequence[Attempt]) -> None:
            async with self._engine.begin() as connection:
                counted = await record(connection, attempts)
            self._forget_recorded(attempts, counted)

        for attempt, error in await narrow(finished, record_all):
            if not await bury(self._engine, of_attempt(attempt), error):
                self._stuck.add(attempt.delivery.id)
            self._forget_recorded([attempt], 1)

    async def _claim_apart(self) -> int:
        begun = 0

        async def claim_all(ids: Sequence[UUID]) -> None:
            nonlocal begun
            async with self._engine.begin() as connection:
                claimed = await claim_these(connection, ids)
            # At once: these are claimed even if a later half fails.
            self._start_attempts(claimed)
            begun += len(claimed)

        async with self._engine.begin() as connection:
            await self._refresh_channels(connection)
            media = dict(await list_due(connection, self._free_places(), self._stuck))
        for id, error in await narrow(list(media), claim_all):
            if not await bury(self._engine, of_unclaimed(id, media[id]), error):
                self._stuck.add(id)
        return begun

    def _forget_recorded(self, attempts: Sequence[Attempt], counted: int) -> None:
        # Recorded attempts are done; one that did not count had lost its lease.
        recorded = {(attempt.delivery.id, attempt.delivery.lease) for attempt in attempts}
        self._finished = [
            attempt
            for attempt in self._finished
            if (attempt.delivery.id, attempt.delivery.lease) not in recorded
        ]
        metrics.LEASES_LOST.inc(len(attempts) - counted)

    def _start_attempts(self, claimed: Sequence[Delivery]) -> None:
        for delivery in claimed:
            self._running[_lane(delivery)] += 1
            task = asyncio.create_task(self._attempt(delivery))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _refresh_channels(self, connection: AsyncConnection) -> None:
        if time.monotonic() >= self._channels_until:
            self._channels = await channel_ids(connection)
            self._channels_until = time.monotonic() + CHANNELS_SECONDS

    def _free_places(self) -> dict[Lane, int]:
        return {
            (medium, channel): places - self._running[medium, channel]
            for medium, places in self._places.items()
            for channel in self._channels
        }

    async def _attempt(self, delivery: Delivery) -> None:
        outcome: Outcome
        with metrics.ATTEMPT_SECONDS.labels(delivery.medium).time():
            try:
                outcome = await self._send(delivery)
            except Exception as error:
                # An error of ours. The attempt is repeated and finally visible as failed; the error's text is not
                # stored, because it may quote the content.
                outcome = Later(f"error_{type(error).__name__}")
                log.warning("attempt_failed", delivery=str(delivery.id), error=type(error).__name__)
        metrics.ATTEMPTS.labels(delivery.medium, _outcome_label(outcome)).inc()
        self._running[_lane(delivery)] -= 1
        self._finished.append(Attempt(delivery, outcome))
        self._attempt_finished.set()

    async def _send(self, delivery: Delivery) -> Outcome:
        # Claimed more often than the schedule allows: each sender died before it could record an outcome.
        if delivery.attempts > MOST_ATTEMPTS:
            return Never("attempts_exhausted")
        return await self._outlets[delivery.medium].send(delivery)


def _lane(delivery: Delivery) -> Lane:
    return delivery.medium, delivery.channel


def _outcome_label(outcome: Outcome) -> str:
    match outcome:
        case Delivered():
            return "delivered"
        case Later():
            return "later"
        case Never():
            return "never"
