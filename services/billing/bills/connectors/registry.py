"""Connectors by biller: created from the catalogue, cached, and each call measured.

A biller's bounds (places, longest call, late effects) are passed to the process's institutions, which give errands
their places.
"""

import asyncio
import json
import random
import time
from collections.abc import Awaitable
from datetime import date
from typing import TypeVar

from prometheus_client import Histogram
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Institutions
from services.billing.bills.connectors.dialect import BillerEndpoint, Dialect
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
from services.billing.catalog import CallTerms, call_terms
from services.billing.institutions import of_biller
from services.billing.settings import Settings

DIALECTS: dict[str, type[Dialect]] = {"json": JsonHttp, "form": SignedForm, "gbk-xml": GbkXml}
# A biller's row of the catalogue is cached for this time.
REFRESH_SECONDS = 30.0
LOOKUP_TRIES = 2

CALL_SECONDS = Histogram(
    "biller_call_seconds", "Calls to billers until they were answered", ["biller", "op", "outcome"]
)

AnswerT = TypeVar("AnswerT")


class UnknownBillerError(LookupError):
    """The catalogue has no such biller, or the biller cannot be called."""


class Measured:
    """A connector whose calls are measured. A lookup is tried a second time when the first one fails."""

    def __init__(self, biller_id: str, inner: Connector) -> None:
        self.biller_id = biller_id
        self.inner = inner

    async def lookup(self, account_number: str) -> LookupAnswer:
        """Look up what the account owes."""
        for _ in range(LOOKUP_TRIES - 1):
            answer = await self._call("lookup", self.inner.lookup(account_number))
            if not isinstance(answer, BillerDown):
                return answer
            await asyncio.sleep(random.uniform(0.05, 0.2))
        return await self._call("lookup", self.inner.lookup(account_number))

    async def apply(self, application: Application) -> ApplyAnswer:
        """Mark a bill paid; called once."""
        return await self._call("apply", self.inner.apply(application))

    async def query(self, application: Application) -> QueryAnswer:
        """Query the outcome of an apply; called once."""
        return await self._call("query", self.inner.query(application))

    async def unapply(self, application: Application) -> UnapplyAnswer:
        """Take the mark back; called once."""
        return await self._call("unapply", self.inner.unapply(application))

    async def day_file(self, day: date) -> bytes:
        """Fetch the biller's day file. Raises OSError when that fails."""
        return await self.inner.day_file(day)

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """Parse the day file. Raises DayFileError."""
        return self.inner.parse_day_file(content)

    async def _call(self, operation: str, call: Awaitable[AnswerT]) -> AnswerT:
        began = time.perf_counter()
        answer = await call
        unsure = isinstance(answer, BillerDown | BillerUnknown)
        CALL_SECONDS.labels(self.biller_id, operation, "unknown" if unsure else "ok").observe(
            time.perf_counter() - began
        )
        return answer


class Connectors:
    """The connectors of one process."""

    def __init__(self, engine: AsyncEngine, settings: Settings, institutions: Institutions) -> None:
        self._engine = engine
        self._institutions = institutions
        self._data_dir = settings.data_dir
        self._secrets: dict[str, str] = (
            json.loads(settings.biller_secrets.read_text()) if settings.biller_secrets else {}
        )
        self._client = HttpClient()
        self._cache: dict[str, tuple[float, CallTerms, Measured]] = {}
        self._making: dict[str, asyncio.Lock] = {}

    async def of(self, biller_id: str) -> Measured:
        """Return the connector of this biller. Raises UnknownBillerError."""
        cached = self._cache.get(biller_id)
        if cached and cached[0] > time.monotonic():
            return cached[2]
        async with self._making.setdefault(biller_id, asyncio.Lock()):
            cached = self._cache.get(biller_id)
            if cached and cached[0] > time.monotonic():
                return cached[2]
            return await self._refresh(biller_id)

    async def aclose(self) -> None:
        """Close the connections to billers."""
        await self._client.aclose()

    async def _refresh(self, biller_id: str) -> Measured:
        async with self._engine.connect() as connection:
            terms = await call_terms(connection, biller_id)
        if terms is None:
            raise UnknownBillerError(f"there is no biller {biller_id!r} in the catalogue")
        cached_until = time.monotonic() + REFRESH_SECONDS
        before = self._cache.get(biller_id)
        if before and before[1] == terms:
            self._cache[biller_id] = (cached_until, terms, before[2])
            return before[2]
        if terms.settled_by == "call":
            # Two tries of a lookup count as one call.
            self._institutions.describe(
                of_biller(biller_id),
                places=terms.max_concurrency,
                line=terms.max_concurrency,
                longest_call_seconds=terms.timeout_ms / 1000,
                late_effect_seconds=terms.late_effect_seconds,
            )
        connector = Measured(terms.id, self._connector(terms))
        self._cache[biller_id] = (cached_until, terms, connector)
        return connector

    def _connector(self, terms: CallTerms) -> Connector:
        if terms.settled_by == "file":
            return FileConnector(self._engine, terms.id, terms.currency, self._data_dir)
        dialect, url = terms.connector.get("dialect"), terms.connector.get("url")
        if dialect not in DIALECTS or not isinstance(url, str):
            raise UnknownBillerError(
                f"the catalogue's connector of {terms.id!r} is not one of ours"
            )
        secret = self._secrets.get(terms.id, "")
        endpoint = BillerEndpoint(
            terms.id, url.rstrip("/"), secret, terms.currency, terms.timeout_ms / 1000
        )
        return DIALECTS[dialect](self._client, endpoint)
