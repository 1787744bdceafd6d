"""Probes for an orchestrator: /livez (the process runs), /readyz (it can do its work) and /metrics (Prometheus).

A few lines of HTTP/1.1 on asyncio, so that a process without a web server needs none.
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Sequence
from typing import Self

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

# Returns a description of the fault, or None when there is none.
Check = Callable[[], Awaitable[str | None]]

CHECK_SECONDS = 2.0
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 503: "Service Unavailable"}
_TEXT = "text/plain; charset=utf-8"


class Probes:
    """Serves the probes while it is entered. Port 0 serves nothing; `bound_port` is where it listens.

    It is ready when the database answers and each check of `ready` returns None.
    """

    # The orchestrator calls from outside of the container.
    def __init__(
        self,
        port: int,
        engine: AsyncEngine,
        ready: Sequence[Check] = (),
        host: str = "0.0.0.0",  # noqa: S104
    ) -> None:
        self.bound_port = port
        self._engine = engine
        self._ready = ready
        self._host = host
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        if self.bound_port:
            self._server = await asyncio.start_server(self._answer, self._host, self.bound_port)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(10):
                request = await reader.readuntil(b"\r\n\r\n")
                status, kind, body = await self._page(request.split(b"\r\n", 1)[0])
                writer.write(
                    f"HTTP/1.1 {status} {_REASONS[status]}\r\nContent-Type: {kind}\r\n"
                    f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode()
                )
                writer.write(body)
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # the client has disconnected or does not speak HTTP
        finally:
            writer.close()

    async def _page(self, request_line: bytes) -> tuple[int, str, bytes]:
        method, _, rest = request_line.partition(b" ")
        if method != b"GET":
            return 400, _TEXT, b"only GET\n"
        match rest.split(b" ")[0].split(b"?")[0]:
            case b"/livez":
                return 200, _TEXT, b"alive\n"
            case b"/readyz":
                problems = await self._problems()
                return (
                    (503, _TEXT, "\n".join([*problems, ""]).encode())
                    if problems
                    else (200, _TEXT, b"ready\n")
                )
            case b"/metrics":
                return 200, CONTENT_TYPE_LATEST, generate_latest()
        return 404, _TEXT, b"try /livez, /readyz or /metrics\n"

    async def _problems(self) -> list[str]:
        async def result_of(check: Check) -> str | None:
            try:
                return await asyncio.wait_for(check(), CHECK_SECONDS)
            except Exception as error:
                return f"{getattr(check, '__name__', 'check')}: {type(error).__name__}"

        found = await asyncio.gather(*(result_of(check) for check in (self.database, *self._ready)))
        return [problem for problem in found if problem]

    async def database(self) -> str | None:
        """Return None when the database answers, else the error."""
        async with self._engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        return None


async def until_stopped() -> None:
    """Wait until the process gets SIGTERM, or SIGINT from a terminal."""
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopped.set)
    try:
        await stopped.wait()
    finally:
        # A second signal ends the process at once.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)
