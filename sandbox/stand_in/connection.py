"""Answers that go wrong on the wire: none at all, or one that is cut short."""

import asyncio
import contextlib
import socket
import struct
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

_TRANSPORT = "sandbox.transport"


class WithTransport:
    """Hands each request the TCP connection that it came by. Goes around the whole application."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] == "http":
            # ASGI has no word for this; uvicorn's `receive` is a method of the object that has the connection.
            scope[_TRANSPORT] = getattr(receive, "__self__").transport  # noqa: B009
        await self._app(scope, receive, send)


class Cut(Response):
    """Waits `seconds`, or until the caller gave up, and then breaks the connection, after `sent` bytes if any."""

    def __init__(self, *, seconds: float = 0.0, sent: bytes = b"") -> None:
        super().__init__()
        self._seconds = seconds
        self._sent = sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        transport = scope[_TRANSPORT]
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_gone(receive), self._seconds)
        if self._sent:
            transport.write(self._sent)
            transport.close()
        else:
            _reset(transport)
        # Until uvicorn knows too: it would answer 500 for us otherwise.
        await _gone(receive)


def truncated(status: int, body: bytes) -> Cut:
    """The head of an answer that promises all of the body, and half of it."""
    head = f"HTTP/1.1 {status} \r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    return Cut(sent=head.encode() + body[: len(body) // 2])


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset(transport: Any) -> None:
    # Lingering for zero seconds sends RST instead of FIN: a crash, not a good-bye.
    with contextlib.suppress(OSError, AttributeError):
        transport.get_extra_info("socket").setsockopt(
            socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
        )
    transport.abort()
