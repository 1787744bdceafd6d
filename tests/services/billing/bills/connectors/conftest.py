"""Customers of the sandbox's billers, and a server that answers with whatever a test wants."""

import asyncio
import itertools
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from sandbox.billers.biller_list import BY_ID
from services.billing.bills.connectors.dialect import BillerEndpoint, Dialect
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.protocol import Application, BillerBill, Found
from services.billing.bills.connectors.registry import DIALECTS
from tests.support.billers import SandboxBillers

# One biller for each dialect.
SPEAKERS = {"json": "hz-water", "form": "south-gas", "gbk-xml": "sh-water"}
_taken = itertools.count()


@dataclass
class Customer:
    """Somebody who owes a bill that no other test touches."""

    dialect: Dialect
    account_number: str
    bill: BillerBill

    @property
    def biller(self) -> str:
        return self.dialect.endpoint.biller_id

    def application(
        self, *, serial: str | None = None, amount_minor: int | None = None
    ) -> Application:
        """The bill in full under a fresh serial, as a rule."""
        return Application(
            serial or uuid.uuid4().hex,
            self.account_number,
            self.bill.bill_number,
            amount_minor or self.bill.amount_minor,
            "CNY",
        )


Customers = Callable[..., Awaitable[Customer]]


def speaker(
    billers: SandboxBillers, client: HttpClient, biller: str, timeout_seconds: float = 5.0
) -> Dialect:
    """Our connector of a biller of the sandbox."""
    endpoint = BillerEndpoint(
        biller, f"{billers.url}/{biller}", billers.secret(biller), "CNY", timeout_seconds
    )
    return DIALECTS[BY_ID[biller].dialect](client, endpoint)


@pytest.fixture
async def client() -> AsyncIterator[HttpClient]:
    made = HttpClient()
    yield made
    await made.aclose()


@pytest.fixture
def customer(billers: SandboxBillers, client: HttpClient) -> Customers:
    """A fresh customer: `await customer("json")`, or of one biller: `await customer(biller="wh-water")`."""

    async def find(
        dialect: str = "json", *, biller: str | None = None, timeout_seconds: float = 5.0
    ) -> Customer:
        biller = biller or SPEAKERS[dialect]
        accounts = billers.accounts(biller, limit=400, owing=None)
        account_number = accounts[next(_taken) % len(accounts)]
        number = billers.issue_bill(biller, account_number, 8_000)
        connector = speaker(billers, client, biller, timeout_seconds)
        found = await connector.lookup(account_number)
        assert isinstance(found, Found)
        (bill,) = [each for each in found.bills if each.bill_number == number]
        return Customer(connector, account_number, bill)

    return find


@dataclass
class Stranger:
    """A server on a free port that sends `answer` (a whole HTTP response, or what passes for one) to every request.

    With `hold` it answers nobody until the event is set; `most_at_once` and `requests` are what it saw.
    """

    answer: bytes = b""
    hold: asyncio.Event | None = None
    drip_seconds: float | None = None
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    requests: int = 0
    most_at_once: int = 0
    url: str = ""
    _now: int = field(default=0, repr=False)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._now += 1
        self.most_at_once = max(self.most_at_once, self._now)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            length = next(
                line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")
            )
            await reader.readexactly(int(length.split(b":")[1]))
            self.requests += 1
            self.asked.set()
            if self.hold:
                await self.hold.wait()
            await self._send(writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._now -= 1
            writer.close()

    async def _send(self, writer: asyncio.StreamWriter) -> None:
        if self.drip_seconds is None:
            writer.write(self.answer)
            await writer.drain()
            return
        for byte in self.answer:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(self.drip_seconds)


@pytest.fixture
async def stranger() -> AsyncIterator[Stranger]:
    made = Stranger()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield made
    server.close()


def response(content: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """A whole HTTP response that closes the connection."""
    head = "\r\n".join(
        [f"HTTP/1.1 {status}", f"Content-Length: {len(content)}", "Connection: close", *headers]
    )
    return head.encode() + b"\r\n\r\n" + content
