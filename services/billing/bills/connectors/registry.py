"""Connectors by biller: made from the catalogue, kept, and each behind a bulkhead of its own.

A bulkhead bounds how many calls a biller has at once and how long one waits for a place, so a slow biller fills its own
places and nobody else's. Lookups are tried again and watched by a breaker; calls that mark a bill go out once, whatever
the breaker says.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any, TypeVar

from prometheus_client import Gauge, Histogram
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.bills.connectors.breaker import Breaker
from services.billing.bills.connectors.dialect import Dialect, Endpoint
from services.billing.bills.connectors.file import FileConnector
from services.billing.bills.connectors.gbk_xml import GbkXml
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.json_http import JsonHttp
from services.billing.bills.connectors.protocol import (
    Application,
    ApplyAnswer,
    BillerDown,
    BillerUnknown,
    Connector,
    DayFileLine,
    LookupAnswer,
    QueryAnswer,
    UnapplyAnswer,
)
from services.billing.bills.connectors.signed_form import SignedForm
from services.billing.settings import Settings

DIALECTS: dict[str, type[Dialect]] = {"json": JsonHttp, "form": SignedForm, "gbk-xml": GbkXml}
# How long a biller's row of the catalogue is believed.
REFRESH_SECONDS = 30.0
LOOKUP_TRIES = 2
# How long a call waits for a place. Somebody looks at a lookup; the rest gives up before the timer resumes it
# (after 20 s), so that it does not queue twice.
LOOKUP_PATIENCE_SECONDS = 5.0
PATIENCE_SECONDS = 15.0

CALL_SECONDS = Histogram(
    "biller_call_seconds", "Calls to billers until they were answered", ["biller", "op", "outcome"]
)
BREAKER_OPEN = Gauge("breaker_open", "1 while a biller is left alone", ["biller"])

_FIND = text("""
    SELECT id, currency, settled_by, connector, timeout_ms, max_concurrency FROM billers WHERE id = :id
""")
AnswerT = TypeVar("AnswerT")
# Nothing was sent; that is for a query to find out, as after every call without an answer.
_BUSY = BillerUnknown("all places at this biller are taken")


class UnknownBillerError(LookupError):
    """The catalogue has no such biller, or none that can be called."""


class Bulkhead:
    """A connector with bounds: places, time, and a breaker for lookups."""

    def __init__(self, biller_id: str, inner: Connector, places: int, breaker: Breaker) -> None:
        self.biller_id = biller_id
        self.inner = inner
        self._places = asyncio.Semaphore(places)
        self._breaker = breaker

    async def lookup(self, account_number: str) -> LookupAnswer:
        """What the account owes; asked twice when the first answer makes no sense."""
        answer: LookupAnswer = BillerDown(
            "the biller has not answered lately; it is tried again shortly"
        )
        for attempt in range(LOOKUP_TRIES):
            if attempt:
                await asyncio.sleep(random.uniform(0.05, 0.2))
            if not self._breaker.admits():
                break
            answer = await self._watched_lookup(account_number)
            if not isinstance(answer, BillerDown):
                break
        return answer

    async def apply(self, application: Application) -> ApplyAnswer:
        """Mark a bill paid; asked once."""
        return await self._call("apply", lambda: self.inner.apply(application), _BUSY)

    async def query(self, application: Application) -> QueryAnswer:
        """What became of an application; asked once."""
        return await self._call("query", lambda: self.inner.query(application), _BUSY)

    async def unapply(self, application: Application) -> UnapplyAnswer:
        """Take the mark back; asked once."""
        return await self._call("unapply", lambda: self.inner.unapply(application), _BUSY)

    async def day_file(self, day: date) -> bytes:
        """The biller's list of a day; raises OSError when it can't be had."""
        return await self.inner.day_file(day)

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """Read the list; raises DayFileError."""
        return self.inner.parse_day_file(content)

    async def _watched_lookup(self, account_number: str) -> LookupAnswer:
        busy: LookupAnswer = BillerDown("all places at this biller are taken")
        try:
            answer = await self._call("lookup", lambda: self.inner.lookup(account_number), busy)
        except BaseException:
            # Cancelled, or the database failed: a probe that nobody reports would keep the breaker open for good.
            self._breaker.give_up()
            raise
        if answer is busy:
            self._breaker.give_up()
        else:
            self._breaker.report(not isinstance(answer, BillerDown))
        BREAKER_OPEN.labels(self.biller_id).set(self._breaker.state == "open")
        return answer

    async def _call(
        self, operation: str, call: Callable[[], Awaitable[AnswerT]], busy: AnswerT
    ) -> AnswerT:
        patience = LOOKUP_PATIENCE_SECONDS if operation == "lookup" else PATIENCE_SECONDS
        try:
            async with asyncio.timeout(patience):
                await self._places.acquire()
        except TimeoutError:
            CALL_SECONDS.labels(self.biller_id, operation, "busy").observe(patience)
            return busy
        began = time.perf_counter()
        try:
            answer = await call()
        finally:
            self._places.release()
        unsure = isinstance(answer, BillerDown | BillerUnknown)
        CALL_SECONDS.labels(self.biller_id, operation, "unknown" if unsure else "ok").observe(
            time.perf_counter() - began
        )
        return answer


class Connectors:
    """The connectors of one process."""

    def __init__(self, engine: AsyncEngine, settings: Settings) -> None:
        self._engine = engine
        self._data_dir = settings.data_dir
        self._secrets: dict[str, str] = (
            json.loads(settings.biller_secrets.read_text()) if settings.biller_secrets else {}
        )
        self._client = HttpClient()
        self._made: dict[str, tuple[float, object, Bulkhead]] = {}
        self._making: dict[str, asyncio.Lock] = {}

    async def of(self, biller_id: str) -> Bulkhead:
        """The connector of this biller; raises UnknownBillerError."""
        made = self._made.get(biller_id)
        if made and made[0] > time.monotonic():
            return made[2]
        async with self._making.setdefault(biller_id, asyncio.Lock()):
            made = self._made.get(biller_id)
            if made and made[0] > time.monotonic():
                return made[2]
            return await self._refresh(biller_id)

    async def aclose(self) -> None:
        """Close the connections to billers."""
        await self._client.aclose()

    async def _refresh(self, biller_id: str) -> Bulkhead:
        async with self._engine.connect() as connection:
            row = (await connection.execute(_FIND, {"id": biller_id})).one_or_none()
        if row is None:
            raise UnknownBillerError(f"there is no biller {biller_id!r} in the catalogue")
        believed_until = time.monotonic() + REFRESH_SECONDS
        before = self._made.get(biller_id)
        if before and before[1] == row:
            # Unchanged: the same places and the same breaker.
            self._made[biller_id] = (believed_until, row, before[2])
            return before[2]
        bulkhead = Bulkhead(row.id, self._connector(row), row.max_concurrency, Breaker())
        self._made[biller_id] = (believed_until, row, bulkhead)
        return bulkhead

    def _connector(self, row: Any) -> Connector:
        if row.settled_by == "file":
            return FileConnector(self._engine, row.id, row.currency, self._data_dir)
        dialect, url = row.connector.get("dialect"), row.connector.get("url")
        if dialect not in DIALECTS or not isinstance(url, str):
            raise UnknownBillerError(f"the catalogue's connector of {row.id!r} is not one of ours")
        secret = self._secrets.get(row.id, "")
        endpoint = Endpoint(row.id, url.rstrip("/"), secret, row.currency, row.timeout_ms / 1000)
        return DIALECTS[dialect](self._client, endpoint)
