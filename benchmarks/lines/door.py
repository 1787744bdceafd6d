"""door_http: payments that the HTTP door promises, by wallet apps that keep their connections open.

One shipped web process, which keeps one core busy; each request is a POST with an idempotency key of its own, answered
after its transaction has been committed.
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
    """Ask for a while, by so many connections at once."""
    async with repeat.stage.city() as city:
        due = iter(await city.due(repeat.plan))
        async with city.engine.begin() as opened:
            key = await issue_key(opened, CHANNEL)
        web = repeat.stage.process(
            "web", "services.billing.web", {"METERHALL_DATABASE_URL": city.billing_url}
        )
        async with running([web]):
            took, elapsed, cost = await _ask(repeat, web, key, due)
        complaints = await _complaints(city, len(took))
    facts = {**cost, "p50_ms": percentile(took, 50), "p99_ms": percentile(took, 99)}
    return {"door_http": Sample(len(took) / elapsed, "requests/s", facts, complaints)}


async def _ask(
    repeat: Repeat, web: LocalProcess, key: str, due: Iterator[Due]
) -> tuple[list[float], float, dict[str, float]]:
    """Milliseconds of each request that was accepted, the seconds of all of them, and their cost."""
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
    for each in wallets:
        each.begin(began + repeat.plan.door_seconds)
    await asyncio.gather(*(each.ended for each in wallets))
    elapsed = time.perf_counter() - began
    took = [milliseconds for each in wallets for milliseconds in each.took_ms]
    return took, elapsed, await used.cost(len(took))


class _Wallet(asyncio.Protocol):
    """One connection: it asks, waits for the whole answer, and asks again until its time is over.

    Only as much of HTTP as that takes, because the client's share of two cores is not what is measured.
    """

    def __init__(self, requests: Iterator[bytes]) -> None:
        self._requests = requests
        self._said = b""
        self._asked_at = self._until = 0.0
        self.took_ms: list[float] = []
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one by its methods only

    def begin(self, until: float) -> None:
        """Ask until then, by `time.perf_counter`; `ended` is done after the last answer."""
        self._until = until
        self._ask()

    def data_received(self, data: bytes) -> None:
        self._said += data
        head, found, body = self._said.partition(b"\r\n\r\n")
        if not found or len(body) < _length(head):
            return
        if not head.startswith(b"HTTP/1.1 202 "):
            self._end(AssertionError(self._said.decode()))
            return
        self._said = b""
        now = time.perf_counter()
        self.took_ms.append((now - self._asked_at) * 1000)
        if now < self._until:
            self._ask()
        else:
            self._end()

    def connection_lost(self, _: Exception | None) -> None:
        self._end(ConnectionError("the door was closed"))

    def _ask(self) -> None:
        self._asked_at = time.perf_counter()
        self._transport.write(next(self._requests))

    def _end(self, error: Exception | None = None) -> None:
        if self.ended.done():
            return
        if error:
            self.ended.set_exception(error)
        else:
            self.ended.set_result(None)
        self._transport.close()


def _length(head: bytes) -> int:
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
        found = (await connection.execute(_COUNTS)).one()._asdict()
    return integrity.differences(found, dict.fromkeys(found, accepted))
