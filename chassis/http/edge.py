"""The outermost layer of every HTTP request: an id that follows it, a bound on its body, and a metric of its duration.

Plain ASGI, because Starlette's BaseHTTPMiddleware costs more than the routes behind it.
"""

import random
import re
import time
from functools import lru_cache

import structlog
from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from chassis.http.problems import BODY_TOO_LARGE, Problem, response_of

# A payment is a few hundred bytes; no valid request is larger than this.
LARGEST_BODY_BYTES = 65_536
# A caller's own id is used when it is harmless in a log and in a header.
_ACCEPTABLE = re.compile(rb"^[A-Za-z0-9._-]{1,64}$")

REQUEST_SECONDS = Histogram(
    "http_request_seconds",
    "Time from a request to the end of its response.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)


class EdgeMiddleware:
    """The outermost layer of the app."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        sent_id = headers.get(b"x-request-id", b"")
        request_id = (
            sent_id.decode() if _ACCEPTABLE.match(sent_id) else f"{random.getrandbits(128):032x}"
        )
        scope.setdefault("state", {})["request_id"] = request_id
        began = time.perf_counter()
        status = 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                ]
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id):
            try:
                if _fits(headers):
                    await self._app(scope, receive, send_with_id)
                else:
                    await response_of(_too_large())(scope, receive, send_with_id)
            finally:
                # The route's pattern, never the path: each id in a path would be a new series.
                route = getattr(scope.get("route"), "path", "none")
                _seconds(scope["method"], route, status).observe(time.perf_counter() - began)


@lru_cache(1024)
def _seconds(method: str, route: str, status: int) -> Histogram:
    return REQUEST_SECONDS.labels(method, route, status)


def _fits(headers: dict[bytes, bytes]) -> bool:
    # Routes read a body whole, so its length has to be known before its first byte.
    length = headers.get(b"content-length", b"0")
    known = length.isdigit() and b"transfer-encoding" not in headers
    return known and int(length) <= LARGEST_BODY_BYTES


def _too_large() -> Problem:
    detail = f"Send a body of at most {LARGEST_BODY_BYTES} bytes, and its Content-Length."
    return Problem(BODY_TOO_LARGE, detail)
