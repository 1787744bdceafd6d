"""One request to a biller: bounded in time and size; whatever went wrong on the way is a TransportError."""

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
# Shorter than the 5 s after which many servers close a silent connection: a request that meets the closing has an
# unknown outcome, and unknown is expensive.
KEEPALIVE_SECONDS = 4.0
# No bound here: a shared one would let a biller that hangs take the others' connections. Each biller's bulkhead bounds.
NO_LIMIT = 0

# Of the HTTP layers; and a broken socket, a header or an address that can't be written or read.
_TROUBLE = (
    httpx.HTTPError,
    httpx.InvalidURL,
    ClientError,
    HttpProcessingError,
    OSError,
    ValueError,
)


# A biller has a handful of addresses; to parse one takes as long as all the rest of a request.
_parsed = lru_cache(4_096)(httpx.URL)


class TransportError(Exception):
    """No answer that could be read: refused, cut, too slow, too large, or not a 200."""


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
        """The body of a 200 answer; raises TransportError for everything else. Redirects are not followed, and
        nothing is sent twice."""
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
            # The transport has only a few names of its own, and calls a broken connection a timeout, too.
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
