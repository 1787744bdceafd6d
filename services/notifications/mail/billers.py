"""The names of billers, read from billing's public catalogue, because events carry only the id."""

import asyncio
import time
from typing import NamedTuple

import aiohttp
import structlog

# Names change a few times in years. A mail does not wait for a name, so an unknown one is requested again soon.
KNOWN_SECONDS = 600.0
UNKNOWN_SECONDS = 15.0
_TIMEOUT_SECONDS = 2.0
# The catalogue has hundreds of billers; more entries than this mean that events carry invented ids.
_MOST = 20_000

log = structlog.get_logger()


class BillerName(NamedTuple):
    """A biller's name in both languages; its id in place of both when the catalogue could not be read."""

    zh: str
    en: str


class BillerNames:
    """A cache in front of GET {billing_url}/v1/billers/{id}."""

    def __init__(self, billing_url: str) -> None:
        self._url = billing_url.rstrip("/")
        self._known: dict[str, tuple[float, BillerName]] = {}
        self._requests: dict[str, asyncio.Task[BillerName]] = {}
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_TIMEOUT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def of(self, biller_id: str) -> BillerName:
        """Return the biller's names. Raises nothing: a mail with the id is better than none."""
        until, name = self._known.get(biller_id, (0.0, None))
        if name is not None and time.monotonic() < until:
            return name
        # Concurrent mails about one biller share one request.
        request = self._requests.get(biller_id)
        if request is None:
            request = self._requests[biller_id] = asyncio.create_task(
                self._refresh(biller_id, name)
            )
            request.add_done_callback(lambda _: self._requests.pop(biller_id, None))
        return await asyncio.shield(request)

    async def _refresh(self, biller_id: str, name: BillerName | None) -> BillerName:
        fetched = await self._get(biller_id)
        if len(self._known) >= _MOST:
            self._known.clear()
        seconds = UNKNOWN_SECONDS if fetched is None else KNOWN_SECONDS
        # While billing is unavailable, the last known name is used.
        name = fetched or name or BillerName(biller_id, biller_id)
        self._known[biller_id] = (time.monotonic() + seconds, name)
        return name

    async def _get(self, biller_id: str) -> BillerName | None:
        try:
            async with self._session.get(f"{self._url}/v1/billers/{biller_id}") as response:
                if response.status != 200:
                    return None
                body = await response.json()
            return BillerName(str(body["name_zh"])[:120], str(body["name_en"])[:120])
        except (
            aiohttp.ClientError,
            TimeoutError,
            OSError,
            ValueError,
            KeyError,
            TypeError,
        ) as error:
            log.warning("biller_name_not_found", biller=biller_id, error=type(error).__name__)
            return None

    async def aclose(self) -> None:
        """Close the connections."""
        await self._session.close()
