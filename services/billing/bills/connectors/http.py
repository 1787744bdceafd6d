"""One request to a biller: bounded in time and size; whatever went wrong on the way is a TransportError."""

import asyncio
from collections.abc import Mapping

import httpx
from aiohttp import ClientError
from httpx_aiohttp import AiohttpTransport

# A bill list is a few kilobytes; a biller that sends more than this is broken or hostile.
LARGEST_ANSWER_BYTES = 1_048_576
# A day file has a line per payment: a million of them are about 100 MB.
LARGEST_FILE_BYTES = 134_217_728


class TransportError(Exception):
    """No answer that could be read: refused, cut, too slow, too large, or not a 200."""


class HttpClient:
    """Connections to billers, shared by all connectors of a process."""

    def __init__(self, most_connections: int = 512) -> None:
        self._transport = AiohttpTransport(
            limits=httpx.Limits(max_connections=most_connections, keepalive_expiry=15.0)
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def send(
        self,
        method: str,
        url: str,
        timeout_seconds: float,
        headers: Mapping[str, str],
        body: bytes = b"",
        largest_bytes: int = LARGEST_ANSWER_BYTES,
    ) -> bytes:
        """The body of a 200 answer; raises TransportError for everything else. Redirects are not followed."""
        request = httpx.Request(
            method,
            url,
            headers={"Accept-Encoding": "identity", **headers},
            content=body or None,
            extensions={"timeout": httpx.Timeout(timeout_seconds).as_dict()},
        )
        try:
            async with asyncio.timeout(timeout_seconds):
                return await self._exchange(request, largest_bytes)
        except (TimeoutError, httpx.TimeoutException) as error:
            raise TransportError(f"no answer within {timeout_seconds:g} s") from error
        except (httpx.HTTPError, ClientError, OSError) as error:
            raise TransportError(f"connection: {type(error).__name__}") from error

    async def _exchange(self, request: httpx.Request, largest_bytes: int) -> bytes:
        response = await self._transport.handle_async_request(request)
        try:
            content = bytearray()
            async for chunk in response.aiter_raw():
                content += chunk
                if len(content) > largest_bytes:
                    raise TransportError(f"more than {largest_bytes} bytes")
        finally:
            await response.aclose()
        if response.status_code != 200:
            raise TransportError(f"status {response.status_code}")
        return bytes(content)
