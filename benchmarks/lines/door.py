"""door_http: payments that the HTTP door accepts with 202 from wallet apps that keep their connections open.

One shipped web process, which keeps one core busy. Each request is a POST with an idempotency key of its own; its
response follows the commit of its transaction.
"""

import asyncio
import time
from collections.abc import Iterator
from typing import cast
from urllib.parse import urlsplit

from sqlalchemy import text

from benchmarks import integrity
from benchmarks.machine.running import meter, running
from benchmarks.measured_city import CHANNEL, Due, MeasuredCity
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample, percentile
from events.ids import uuid7
from sandbox.local.local_process import LocalProcess
from services.billing.channels import issue_key

CONNECTIONS = 64
_COUNTS = text("""
    SELECT (SELECT count(*) FROM payment_requests) AS promises, (SELECT count(*) FROM outbox) AS commands,
        (SELECT count(*) FROM idempotency_keys) AS keys
""")


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Send requests for the planned seconds, over 64 concurrent connections."""
    async with repeat.stage.city() as city:
        due = iter(await city.due(repeat.plan))
        async with city.engine.begin() as opened:
            key = await issue_key(opened, CHANNEL)
        web = repeat.stage.process(
            "web", "services.billing.web", {"METERHALL_DATABASE_URL": city.billing_url}
        )
        async with running([web]):
            took, elapsed, cost = await _send_requests(repeat, web, key, due)
        complaints = await _complaints(city, len(took))
    facts = {**cost, "p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99)}
    return {"door_http": Sample(len(took) / elapsed, "requests/s", facts, complaints)}


async def _send_requests(
    repeat: Repeat, web: LocalProcess, key: str, due: Iterator[Due]
) -> tuple[list[float], float, dict[str, float]]:
    """Return the milliseconds of each accepted request, the seconds of all of them, and their cost."""
    address = urlsplit(web.ready_url)
    host, port = address.hostname or "", address.port or 0
    requests = _requests(f"{host}:{port}", key, due)
    loop = asyncio.get_running_loop()
    wallets = [
        (await loop.create_connection(lambda: _Wallet(requests), host, port))[1]
        for _ in range(CONNECTIONS)
    ]
    used = meter(repeat.stage, web=[web])
    await used.start()
    began = time.perf_counter()
    for wallet in wallets:
        wallet.begin(began + repeat.plan.door_seconds)
    await asyncio.gather(*(each.ended for each in wallets))
    elapsed = time.perf_counter() - began
    took = [milliseconds for each in wallets for milliseconds in each.took_ms]
    return took, elapsed, await used.cost(len(took))


class _Wallet(asyncio.Protocol):
    """One connection: sends a request, waits for the whole response, and repeats that until its time is over.

    It speaks no more HTTP than that needs: the client shares the cores with the measured process.
    """

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._received = b""
        self._sent_at = self._until = 0.0
        self.took_ms: list[float] = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only

    def begin(self, until: float) -> None:
        """Send requests until then, by `time.perf_counter`; `ended` is done after the last response."""
        self._until = until
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator or len(body) < _content_length(head):
            return
        if not head.startswith(b"HTTP/1.1 202 "):
            self._end(AssertionError(self._received.decode()))
            return
        self._received = b""
        now = time.perf_counter()
        self.took_ms.append((now - self._sent_at) * 1000)
        if now < self._until:
            self._send()
        else:
            self._end()

    def connection_lost(self, _: Exception | None) -> None:
        self._end(ConnectionError("the web process closed the connection"))

    def _send(self) -> None:
        self._sent_at = time.perf_counter()
        self._transport.write(next(self._requests))

    def _end(self, error: Exception | None = None) -> None:
        if self.ended.done():
            return
        if error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)
        self._transport.close()


def _content_length(head: bytes) -> int:
    _, _, rest = head.lower().partition(b"\r\ncontent-length: ")
    return int(rest.partition(b"\r\n")[0])


def _requests(host: str, key: str, due: Iterator[Due]) -> Iterator[bytes]:
    head = (
        f"POST /v1/payments HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {key}\r\n"
        "Content-Type: application/json\r\n"
    )
    for each in due:
        body = (
            f'{{"bill_id": "{each.bill_id}", "payer": "{each.payer}", "amount_minor": {each.amount_minor}, '
            '"currency": "CNY", "funding": {"kind": "wallet"}}'
        )
        own = f"Content-Length: {len(body)}\r\nIdempotency-Key: {uuid7()}\r\n\r\n"
        yield f"{head}{own}{body}".encode()


async def _complaints(city: MeasuredCity, accepted: int) -> list[str]:
    async with city.engine.connect() as connection:
        counts = (await connection.execute(_COUNTS)).one()._asdict()
    return integrity.differences(counts, dict.fromkeys(counts, accepted))
