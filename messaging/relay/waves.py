"""Wave after wave from the outbox to Kafka, in the order in which each key's messages were committed.

lead → page → batches → all acknowledged → cursor. A crash anywhere sends at most one wave twice and loses nothing.
One relay per schema publishes, the others stand by. A former leader that wakes up sends messages again that were sent
before, in their order, so the first occurrence of each message is always in the right order.
"""

import asyncio
import time
from collections.abc import Awaitable
from typing import Any

import asyncpg
import structlog

from messaging.pacing import rest_seconds
from messaging.relay import metrics
from messaging.relay.lead import HaltedError, Lead, backlog, connect_relay, take_lead
from messaging.relay.publish import Publisher, StartOverError
from messaging.relay.windows import PAGE_ROWS, OutboxPage, Position, Reader
from messaging.transient import backoff_seconds, is_transient

# Polling: at once while pages are full, and more and more slowly while there are no messages.
POLL_SECONDS = 0.002
LONGEST_POLL_SECONDS = 0.05
# A standby tries to take the lead this often. A leader that dies releases it at once, because its socket closes.
STANDBY_SECONDS = 0.25
# While Kafka is slow the leader sends a statement to PostgreSQL this often; after IDLE_SESSION_SECONDS of silence it
# loses the lead.
KEEPALIVE_SECONDS = 3.0
# The cursor is one row: written after each full wave, and for small ones no more often than this.
SAVE_SECONDS = 0.05
# Each write of the cursor makes a new snapshot and so a new position; without messages that must not become a loop.
IDLE_SAVE_SECONDS = 10.0
BACKLOG_SECONDS = 2.0
# A wave that Kafka has not acknowledged by then is abandoned when the process ends; the cursor does not include it.
STOP_SECONDS = 10.0

log = structlog.get_logger()


class Relay:
    """Publishes one schema's outbox while it has the lead. `database_url` is postgresql+asyncpg://…, not a pooler's."""

    def __init__(self, database_url: str, schema: str, bootstrap: str) -> None:
        self._database_url = database_url
        self._schema = schema
        self._bootstrap = bootstrap
        self._stopping = asyncio.Event()
        self._publisher: Publisher | None = None
        self._connection: asyncpg.Connection[Any] | None = None
        self._lead: Lead | None = None
        self._reader: Reader | None = None
        self._sending: asyncio.Task[None] | None = None
        self._next_page: OutboxPage | None = None
        # The position that is published and not yet stored in the cursor.
        self._published_to: Position | None = None
        self._unsaved_rows = 0
        self._highest_id = 0
        self._saved_at = 0.0
        self._backlog_at = 0.0

    async def run(self, stopped: Awaitable[object]) -> None:
        """Publish until `stopped` is done, then end after the wave under way. Raises HaltedError."""
        publishing = asyncio.create_task(self._publish_until_stopped())
        waiting = asyncio.ensure_future(stopped)
        try:
            await asyncio.wait({publishing, waiting}, return_when=asyncio.FIRST_COMPLETED)
            self._stopping.set()
            await asyncio.wait({publishing}, timeout=STOP_SECONDS)
        finally:
            waiting.cancel()
            publishing.cancel()
            await asyncio.wait({publishing})
            await self.close()
        if not publishing.cancelled():
            publishing.result()

    async def run_once(self) -> int:
        """Publish one wave; return its number of messages, or 0 while another relay leads.

        Raises errors of the database or Kafka (see is_transient), after which `release_lead` must come before the
        next wave.
        """
        lead = self._lead or await self._take_lead()
        if lead is None:
            return 0
        assert self._reader is not None
        page = self._next_page or await self._reader.read()
        self._next_page = None
        if page.rows:
            # So a crash sends no more than a page twice, even when small waves share a write of the cursor.
            if self._unsaved_rows + len(page.rows) > PAGE_ROWS:
                await self._save(lead)
            await self._publish_page(page, self._reader)
            self._highest_id = max(self._highest_id, page.rows[-1]["id"])
            self._unsaved_rows += len(page.rows)
        self._published_to = page.end
        await self._save_when_due(lead)
        await self._export_backlog(caught_up=not page.rows)
        return len(page.rows)

    async def release_lead(self) -> None:
        """Give up the lead and everything that is not in the cursor; the next wave starts from the cursor."""
        metrics.ACTIVE.set(0)
        if self._sending is not None:
            # No batch may be under way when the same rows are sent again.
            await asyncio.wait({self._sending})
        if self._connection is not None:
            self._connection.terminate()
        self._connection = self._lead = self._reader = self._next_page = self._sending = None

    async def close(self) -> None:
        """Store the cursor if that is possible, and close all connections."""
        if self._sending is not None and not self._sending.done():
            self._sending.cancel()
        elif self._lead is not None:
            try:
                await self._save(self._lead)
            except Exception as error:
                if not is_transient(error):
                    raise
                log.warning("cursor_not_saved", schema=self._schema, error=type(error).__name__)
        await self.release_lead()
        await self._close_publisher()

    async def _publish_until_stopped(self) -> None:
        failures, pause = 0, POLL_SECONDS
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                sent = await self.run_once()
            except HaltedError as error:
                log.error("relay_halted", schema=self._schema, reason=str(error))
                raise
            except Exception as error:
                if not is_transient(error):
                    raise
                failures += 1
                await self._start_over(error, failures)
                continue
            failures = 0
            if self._lead is None:
                pause = STANDBY_SECONDS
            elif sent:
                full = self._next_page or sent > PAGE_ROWS // 4
                rest = rest_seconds(time.monotonic() - began)
                pause = 0.0 if full else max(POLL_SECONDS, rest)
            else:
                pause = min(max(pause * 2, POLL_SECONDS), LONGEST_POLL_SECONDS)
            await self._pause(pause)

    async def _start_over(self, error: Exception, failures: int) -> None:
        metrics.RELAY_FAILURES.labels(type(error).__name__).inc()
        log.warning(
            "relay_starts_over", schema=self._schema, error=type(error).__name__, failures=failures
        )
        await self.release_lead()
        if isinstance(error, StartOverError):
            await self._close_publisher()
        await self._pause(backoff_seconds(failures))

    async def _take_lead(self) -> Lead | None:
        # Kafka first: a relay that cannot reach it must not keep the lead from one that can.
        if self._publisher is None:
            publisher = Publisher(self._bootstrap, f"meterhall-relay-{self._schema}")
            await publisher.start()
            self._publisher = publisher
        if self._connection is None:
            self._connection = await connect_relay(self._database_url, self._schema)
        self._lead = await take_lead(self._connection)
        if self._lead is not None:
            self._reader = Reader(self._connection, self._lead.start)
            self._published_to, self._unsaved_rows, self._highest_id = self._lead.start, 0, 0
            self._saved_at = time.monotonic()
            metrics.ACTIVE.set(1)
            metrics.TAKEOVERS.inc()
            log.info("relay_leads", schema=self._schema)
        return self._lead

    async def _publish_page(self, page: OutboxPage, reader: Reader) -> None:
        assert self._publisher is not None
        began = time.monotonic()
        sending = self._sending = asyncio.create_task(self._publisher.publish(page.rows))
        if page.end.cur is not None:
            # The window has more: read it while Kafka writes this page.
            self._next_page = await reader.read()
        while not sending.done():
            await asyncio.wait({sending}, timeout=KEEPALIVE_SECONDS)
            if not sending.done():
                await self._measure_backlog()
        self._sending = None
        try:
            sending.result()
        except Exception:
            metrics.PUBLISHED.labels("failed").inc(len(page.rows))
            raise
        metrics.PUBLISHED.labels("acknowledged").inc(len(page.rows))
        metrics.WAVE_SECONDS.observe(time.monotonic() - began)

    async def _save_when_due(self, lead: Lead) -> None:
        since = time.monotonic() - self._saved_at
        full = self._unsaved_rows >= PAGE_ROWS
        if full or since >= (SAVE_SECONDS if self._unsaved_rows else IDLE_SAVE_SECONDS):
            await self._save(lead)

    async def _save(self, lead: Lead) -> None:
        assert self._published_to is not None
        await lead.save(self._published_to, self._highest_id)
        self._unsaved_rows = 0
        self._saved_at = time.monotonic()

    async def _export_backlog(self, *, caught_up: bool) -> None:
        if caught_up:
            metrics.PENDING_ROWS.set(0)
            metrics.OLDEST_UNPUBLISHED.set(time.time())
        elif time.monotonic() - self._backlog_at >= BACKLOG_SECONDS:
            await self._measure_backlog()

    async def _measure_backlog(self) -> None:
        assert self._connection is not None
        rows, oldest = await backlog(self._connection)
        self._backlog_at = time.monotonic()
        metrics.PENDING_ROWS.set(rows)
        metrics.OLDEST_UNPUBLISHED.set(oldest or time.time())

    async def _pause(self, seconds: float) -> None:
        if seconds:
            try:
                await asyncio.wait_for(self._stopping.wait(), seconds)
            except TimeoutError:
                return

    async def _close_publisher(self) -> None:
        if self._publisher is not None:
            await self._publisher.close()
            self._publisher = None
