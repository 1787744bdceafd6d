"""Webhooks out: signed, retried until they are taken, and on request late, twice or out of order."""

import asyncio
import contextlib
import hashlib
import hmac
import logging
import random
import sqlite3
import time

import aiohttp
from pydantic import BaseModel, ConfigDict, Field

from sandbox.psp.provider import Provider
from sandbox.psp.psp_store import encode

_log = logging.getLogger(__name__)
# A receiver that takes longer than this is retried.
TIMEOUT_SECONDS = 10.0
AT_ONCE = 32
# Half a second, doubled each time up to an hour: about three days until the PSP gives up, as Stripe does.
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 3_600.0
MOST_ATTEMPTS = 85


class WebhookSettings(BaseModel):
    """The destination of webhooks, and the faults of their delivery."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, description="where to POST events; none are queued without")
    duplicates: int = Field(0, ge=0, le=10, description="how often each event comes again")
    delay_seconds: float = Field(0.0, ge=0, description="how long each waits before it is sent")
    shuffle_seconds: float = Field(0.0, ge=0, description="each waits up to this long, by chance")
    paused: bool = Field(False, description="queue, but send only on POST …/deliver")
    secrets: list[str] = Field(default_factory=list, description="more secrets to sign with (roll)")


class Webhooks:
    """The queue is in the store: an event that is committed is delivered, kill -9 in between or not."""

    def __init__(self, provider: Provider, secret: str) -> None:
        self._provider = provider
        self._store = provider.store
        self._secret = secret
        self._session: aiohttp.ClientSession | None = None
        self._news = asyncio.Event()
        self.settings = WebhookSettings.model_validate_json(self._store.setting("webhooks", "{}"))
        provider.queue = self.queue  # type: ignore[method-assign]

    def configure(self, settings: WebhookSettings) -> None:
        """Change the settings, for good."""
        self.settings = settings
        self._store.set_setting("webhooks", settings.model_dump_json())
        self._news.set()

    def queue(self, event_id: str) -> None:
        """Send this event, as often as the settings say."""
        settings = self.settings
        if settings.url is None:
            return
        for copy in range(1 + settings.duplicates):
            # Chance that follows from the seed: the same run is shuffled the same way.
            chance = random.Random(f"{self._provider.seed}:{event_id}:{copy}").random()
            due = time.time() + settings.delay_seconds + chance * settings.shuffle_seconds
            self._store.execute(
                "INSERT INTO deliveries (event_id, due) VALUES (?, ?)", event_id, due
            )
        self._news.set()

    async def run(self) -> None:
        """Deliver what is due, for ever."""
        while True:
            try:
                await self._turn()
            except sqlite3.Error:
                # A full disk, as a rule. What was not noted as delivered is sent again.
                _log.exception("webhooks have to wait")
                await asyncio.sleep(1)

    async def _turn(self) -> None:
        self._news.clear()
        if self.settings.paused or not await self.run_once():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._news.wait(), self._pause_seconds())

    async def run_once(self, *, everything: bool = False) -> int:
        """Try what is due (or everything that is queued), once; how many were tried."""
        now = float("inf") if everything else time.time()
        rows = self._store.query(
            "SELECT number, event_id, attempts FROM deliveries"
            " WHERE state = 'pending' AND due <= ? ORDER BY due, number LIMIT ?",
            now,
            AT_ONCE,
        )
        # Nobody hears of what could still be forgotten.
        await self._store.durable()
        await asyncio.gather(*(self._deliver(*row) for row in rows))
        await self._store.durable()
        return len(rows)

    def resend(self, event_id: str) -> None:
        """Send an old event again."""
        self._provider.require("event", event_id)
        self.queue(event_id)

    def report(self) -> dict[str, object]:
        """The settings, and how many deliveries are pending, delivered and failed."""
        rows = self._store.query("SELECT state, count(*) FROM deliveries GROUP BY state")
        counts = {"pending": 0, "delivered": 0, "failed": 0, **dict(rows)}
        return {"settings": self.settings.model_dump(exclude={"secrets"}), **counts}

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    def sign(self, body: bytes, at: int) -> str:
        """The Stripe-Signature header."""
        signed = f"{at}.".encode() + body
        signatures = [
            f"v1={hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()}"
            for secret in (self._secret, *self.settings.secrets)
        ]
        return ",".join([f"t={at}", *signatures])

    async def _deliver(self, number: int, event_id: str, attempts: int) -> None:
        body = encode(self._provider.require("event", event_id)).encode()
        status = await self._post(body)
        delivered = status.startswith("2")
        failed = not delivered and attempts + 1 >= MOST_ATTEMPTS
        pause = min(FIRST_PAUSE_SECONDS * 2.0 ** min(attempts, 20), LONGEST_PAUSE_SECONDS)
        self._store.execute(
            "UPDATE deliveries SET state = ?, status = ?, attempts = ?, due = ? WHERE number = ?",
            "delivered" if delivered else "failed" if failed else "pending",
            status,
            attempts + 1,
            time.time() + pause,
            number,
        )

    async def _post(self, body: bytes) -> str:
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
            self._session = aiohttp.ClientSession(timeout=timeout)
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            # The receiver's clock is the real one, whatever the PSP's own says.
            "Stripe-Signature": self.sign(body, int(time.time())),
        }
        try:
            async with self._session.post(
                str(self.settings.url), data=body, headers=headers, allow_redirects=False
            ) as response:
                return str(response.status)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return type(error).__name__

    def _pause_seconds(self) -> float | None:
        if self.settings.paused:
            return None
        rows = self._store.query("SELECT min(due) FROM deliveries WHERE state = 'pending'")
        due = rows[0][0]
        return None if due is None else max(0.0, min(due - time.time(), 60.0))
