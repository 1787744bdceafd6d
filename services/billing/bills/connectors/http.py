"""One request to a biller, bounded in time and size; every failure on the way is a TransportError."""

import asyncio
from collections.abc import Mapping
from functools import lru_cache

import httpx
from aiohttp import ClientError
from aiohttp.http_exceptions import HttpProcessingError
from httpx_aiohttp import AiohttpTransport

# A bill list is a few kilobytes; a biller that sends more than this is broken or hostile.
LARGEST_ANSWER_BYTES = 1_048_576
# A day file has a line per payment: a million of them are about 100 MB.
LARGEST_FILE_BYTES = 134_217_728
# Shorter than the 5 s after which many servers close an idle connection: a request sent at that moment has an unknown
# outcome, and unknown outcomes are expensive.
KEEPALIVE_SECONDS = 4.0
# No bound here: with a shared one a biller that hangs would take the others' connections. Each biller's places are the
# bound.
NO_LIMIT = 0

# Errors of the HTTP layers: a broken socket, a header or an address that cannot be written or read.
_TROUBLE = (
    httpx.HTTPError,
    httpx.InvalidURL,
    ClientError,
    HttpProcessingError,
    OSError,
    ValueError,
)


# A biller has a handful of addresses, and parsing one takes as long as the rest of a request.
_parsed = lru_cache(4_096)(httpx.URL)


class TransportError(Exception):
    """No readable response: refused, cut, too slow, too large, or not a 200."""


class HttpClient:
    """Connections to billers, shared by all connectors of a process."""

    def __init__(self) -> None:
        self._transport = AiohttpTransport(
            limits=httpx.Limits(max_connections=NO_LIMIT, keepalive_expiry=KEEPALIVE_SECONDS)
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def post(
        self,
        url: str,
        headers: Mapping[str, str],
        body: bytes,
        *,
        timeout_seconds: float,
        largest_bytes: int = LARGEST_ANSWER_BYTES,
    ) -> bytes:
        """Return the body of a 200 response. Raises TransportError for everything else. Redirects are not followed, and
        the request is sent once."""
        try:
            request = httpx.Request(
                "POST",
                _parsed(url),
                headers={"Accept-Encoding": "identity", **headers},
                content=body,
                extensions={"timeout": httpx.Timeout(timeout_seconds).as_dict()},
            )
            async with asyncio.timeout(timeout_seconds):
                return await self._exchange(request, largest_bytes)
        except _TROUBLE as error:
            # The transport has few kinds of errors, and reports a broken connection as a timeout, too.
            if any(isinstance(each, TimeoutError) for each in (error, error.__cause__)):
                raise TransportError(f"no answer within {timeout_seconds:g} s") from error
            raise TransportError(
                f"connection: {type(error.__cause__ or error).__name__}"
            ) from error

    async def _exchange(self, request: httpx.Request, largest_bytes: int) -> bytes:
        response = await self._transport.handle_async_request(request)
        try:
            if response.status_code != 200:
                raise TransportError(f"status {response.status_code}")
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > largest_bytes:
                    raise TransportError(f"more than {largest_bytes} bytes")
        finally:
            await response.aclose()
        return bytes(content)
