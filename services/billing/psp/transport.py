"""One request to the PSP, and what its response proves: a body, a rejection, or nothing.

Only a 2xx and a rejection that the PSP itself wrote (400, 402) are certain. In all other cases the call may have
taken effect: no response in time, a reset, 5xx, a key in use, a response cut short. A refused connection counts as
unknown as well, which costs one more call and needs no proof about what was sent; so does a 404, because it only
means a wrong account or address for an object that we know to exist.

Stripe stores even a 500 under the idempotency key and replays it with `Idempotent-Replayed: true`. This header, and
not a second 500, proves that the call under the key is over (docs.stripe.com/api/idempotent_requests).
"""

import asyncio
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeVar
from urllib.parse import urlencode

import httpx
from aiohttp import ClientError
from httpx_aiohttp import AiohttpTransport
from prometheus_client import Histogram
from pydantic import BaseModel, ValidationError

from services.billing.psp.outcomes import Unknown
from services.billing.psp.wire import WireError, WireProblem

# The API version that `wire` reads. An account's default version could change.
STRIPE_VERSION = "2026-08-26.dahlia"
# Stripe's largest page, 100 balance transactions with their sources, is about 400 kB.
LARGEST_ANSWER_BYTES = 4_194_304
# More than any worker has in flight, so that requests never wait here, outside of the worker's own bounds.
MOST_CONNECTIONS = 512
# Shorter than the 60 s after which load balancers close an idle connection.
KEEPALIVE_SECONDS = 15.0
# A short rate limit is waited out here; after a longer one the errand is tried again later, with the same key.
TRIES_WHEN_LIMITED = 3
LONGEST_WAIT_SECONDS = 2.0

Params = Sequence[tuple[str, str]]
Shape = TypeVar("Shape", bound=BaseModel)

# Parsing a URL takes as long as the rest of a request, and most calls go to the same few.
_parsed = lru_cache(256)(httpx.URL)

REQUEST_SECONDS = Histogram(
    "psp_request_seconds",
    "Duration of calls to the PSP, until the response or the failure",
    ["op", "outcome"],
)


@dataclass(frozen=True, slots=True)
class Request:
    """`key` is the Idempotency-Key of a POST; `operation` only names the call in metrics."""

    operation: str
    method: Literal["GET", "POST"]
    path: str
    params: Params = ()
    key: str | None = None


class Transport:
    """Connections to one PSP, kept open, each request bounded in time and its response in size."""

    def __init__(self, url: str, api_key: str, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._url = url.rstrip("/")
        # As pairs of bytes, so that httpx need not convert them for each request.
        self._headers = [
            (b"Host", httpx.URL(url).netloc),
            (b"Authorization", f"Bearer {api_key}".encode()),
            (b"Stripe-Version", STRIPE_VERSION.encode()),
            (b"Content-Type", b"application/x-www-form-urlencoded"),
            (b"Accept-Encoding", b"identity"),
            (b"User-Agent", b"meterhall"),
        ]
        self._timeouts = {"timeout": httpx.Timeout(timeout_seconds).as_dict()}
        # httpx's own pool is quadratic in concurrency: 215 requests/s at 128 concurrent, 2,475 on this transport.
        # Used without httpx.AsyncClient on top, whose cookies, redirects and merges cost a third more per call.
        self._transport = AiohttpTransport(
            limits=httpx.Limits(
                max_connections=MOST_CONNECTIONS, keepalive_expiry=KEEPALIVE_SECONDS
            )
        )

    async def aclose(self) -> None:
        """Close the connections."""
        await self._transport.aclose()

    async def send(self, request: Request, shape: type[Shape]) -> Shape | WireError | Unknown:
        """Return the response parsed as `shape`, the PSP's rejection, or Unknown."""
        started = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                response = await self._send_within_limit(request, shape)
        except (TimeoutError, httpx.TimeoutException) as error:
            # The transport reports a reset connection as a time-out, too; only its text shows the difference.
            details = str(error) or f"none within {self._timeout_seconds:g} s"
            response = Unknown(f"no_answer: {details}")
        except (httpx.HTTPError, ClientError, OSError) as error:
            response = Unknown(f"connection: {type(error).__name__}: {error}")
        REQUEST_SECONDS.labels(request.operation, _label(response)).observe(
            time.perf_counter() - started
        )
        return response

    async def _send_within_limit(
        self, request: Request, shape: type[Shape]
    ) -> Shape | WireError | Unknown:
        for tries in range(1, TRIES_WHEN_LIMITED + 1):
            status, headers, body = await self._exchange(request)
            if status != 429 or tries == TRIES_WHEN_LIMITED:
                break
            await asyncio.sleep(_pause_seconds(headers.get("Retry-After"), tries))
        replayed = headers.get("Idempotent-Replayed", "").lower() == "true"
        return _verified_response(status, body, shape, replayed)

    async def _exchange(self, request: Request) -> tuple[int, httpx.Headers, bytes]:
        query = urlencode(request.params)
        posted = request.method == "POST"
        path = request.path if posted or not query else f"{request.path}?{query}"
        key = [(b"Idempotency-Key", request.key.encode())] if request.key else []
        response = await self._transport.handle_async_request(
            httpx.Request(
                request.method,
                _parsed(self._url + path),
                headers=httpx.Headers([*self._headers, *key], encoding="ascii"),
                content=query.encode() if posted else None,
                extensions=self._timeouts,
            )
        )
        try:
            body = bytearray()
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > LARGEST_ANSWER_BYTES:
                    raise httpx.ReadError(f"more than {LARGEST_ANSWER_BYTES} bytes")
            return response.status_code, response.headers, bytes(body)
        finally:
            await response.aclose()


def _verified_response(
    status: int, body: bytes, shape: type[Shape], replayed: bool
) -> Shape | WireError | Unknown:
    try:
        if 200 <= status < 300:
            return shape.model_validate_json(body)
        if status not in {400, 402}:
            return Unknown(f"status: {status} {_message(body)}".rstrip(), over=replayed)
        rejection = WireProblem.model_validate_json(body).error
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return Unknown(f"unreadable: {status}, {where or 'body'}: {first['msg']}")
    if rejection.type == "idempotency_error":
        # Our key was used for something else, so an earlier call with other parameters may have moved money.
        return Unknown(f"key_reused: {rejection.message}")
    if rejection.type not in {"card_error", "invalid_request_error"}:
        return Unknown(f"status: {status} {rejection.type}: {rejection.message}")
    return rejection


def _message(body: bytes) -> str:
    try:
        return WireProblem.model_validate_json(body).error.message or ""
    except ValidationError:
        return ""


def _pause_seconds(retry_after: str | None, tries: int) -> float:
    seconds = float(retry_after) if retry_after and retry_after.isdecimal() else 0.1 * 2**tries
    # Jitter: callers that were limited at the same time must not return at the same time.
    return min(seconds, LONGEST_WAIT_SECONDS) * random.uniform(0.75, 1.25)


def _label(response: BaseModel | Unknown) -> str:
    if isinstance(response, Unknown):
        return "ambiguous"
    return "declined" if isinstance(response, WireError) else "ok"
