"""Shared parts of the tests of notifications: events as from Kafka, a receiver, and the whole service."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from uuid import UUID

from aiohttp import web
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import Header, decode, headers
from events.ids import uuid7
from events.message import Event
from events.payments import PaymentFailed, PaymentRefunded, PaymentSucceeded
from events.receipts import ReceiptIssued, ReceiptVoided
from messaging.consumer import Message
from services.notifications.deliveries.send import Sender
from services.notifications.handlers import handler
from services.notifications.mail import BillerNames, MailOutlet, Smtp
from services.notifications.recipients.endpoints import set_endpoint
from services.notifications.recipients.payers import put_recipient
from services.notifications.recipients.tokens import add_channel
from services.notifications.settings import Settings
from services.notifications.webhooks import WebhookOutlet
from tests.support.mailbox import MailBox

ISSUED_AT = datetime(2026, 11, 23, 8, 30, tzinfo=UTC)
NUMBER = "202611237K2M9QXAB0CD4TFW"


@dataclass(frozen=True)
class Record:
    """A Kafka record as aiokafka has it."""

    topic: str
    key: bytes
    value: bytes
    headers: list[Header]
    partition: int = 0
    offset: int = 0
    timestamp: int = 1_795_000_000_000


def record_of(event: Event, id: UUID | None = None, sequence: int = 1) -> Record:
    """The record that the relay would publish."""
    ce = headers(
        id or uuid7(),
        event.ce_type(),
        event.topic.source,
        event.key,
        datetime.now(UTC),
        sequence,
        correlation_id="order-7",
    )
    return Record(event.topic.name, event.key.encode(), event.model_dump_json().encode(), ce)


def message_of(event: Event, id: UUID | None = None, sequence: int = 1) -> Message:
    """The message that the consumer hands over."""
    record = record_of(event, id, sequence)
    found = decode(record.topic, record.key, record.value, record.headers)
    return Message(
        record,
        found.id,
        found.type,
        found.event,
        found.traceparent,
        found.correlation_id,
        found.headers,
    )


def issued(channel: str, payer: str, amount_minor: int = 8850) -> ReceiptIssued:
    return ReceiptIssued(
        payment_id=uuid7(),
        receipt_number=NUMBER,
        channel=channel,
        payer=payer,
        biller_id="hz-water",
        amount_minor=amount_minor,
        currency="CNY",
        issued_at=ISSUED_AT,
    )


def about(channel: str, payer: str) -> dict[str, Any]:
    """The fields of every payment event."""
    return {
        "payment_id": uuid7(),
        "channel": channel,
        "payer": payer,
        "bill_id": uuid7(),
        "biller_id": "hz-water",
        "amount_minor": 8850,
        "currency": "CNY",
    }


def succeeded(channel: str, payer: str) -> PaymentSucceeded:
    return PaymentSucceeded(**about(channel, payer), receipt_number=NUMBER)


def failed(channel: str, payer: str, outcome: str = "declined") -> PaymentFailed:
    return PaymentFailed.model_validate(
        {**about(channel, payer), "outcome": outcome, "reason": "insufficient_funds"}
    )


def refunded(channel: str, payer: str, refund_minor: int, refunded_minor: int) -> PaymentRefunded:
    return PaymentRefunded(
        **about(channel, payer),
        refund_id=uuid7(),
        refund_minor=refund_minor,
        refunded_minor=refunded_minor,
    )


def voided(channel: str, payer: str, reason: str) -> ReceiptVoided:
    return ReceiptVoided(
        payment_id=uuid7(), receipt_number=NUMBER, channel=channel, payer=payer, reason=reason
    )


@dataclass
class Request:
    """A webhook as it came."""

    path: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """A channel's receiver over TCP; `answer` decides what it says."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.answer: Callable[[Request], Awaitable[web.StreamResponse]] = self.ok
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._take)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.url = ""

    async def ok(self, _: Request) -> web.StreamResponse:
        return web.Response()

    async def __aenter__(self) -> "Receiver":
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        host, port = self._runner.addresses[0]
        self.url = f"http://{host}:{port}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._runner.cleanup()

    def at(self, path: str) -> list[Request]:
        return [each for each in self.requests if each.path == path]

    async def _take(self, http: web.Request) -> web.StreamResponse:
        request = Request(http.path, dict(http.headers), await http.read())
        self.requests.append(request)
        return await self.answer(request)


@dataclass
class Hall:
    """The service in one piece: `take` is the consumer's work, `sender` the sender's, time moves when told."""

    engine: AsyncEngine
    owner: AsyncEngine
    mailbox: MailBox
    settings: Settings
    sender: Sender
    new_sender: Callable[[], Sender]
    secrets: dict[str, str] = field(default_factory=dict)

    async def channel(self, url: str | None = None) -> str:
        """A new channel, with an endpoint if there is a URL."""
        channel = f"app-{uuid7().hex[-12:]}"
        async with self.engine.begin() as connection:
            await add_channel(connection, channel)
            if url is not None:
                secret = await set_endpoint(connection, channel, url)
                assert secret
                self.secrets[channel] = secret
        return channel

    async def payer(self, channel: str, language: str = "en") -> tuple[str, str]:
        """A new payer with an address: (payer, email)."""
        payer = f"payer-{uuid7().hex[-12:]}"
        email = f"{payer}@example.org"
        async with self.engine.begin() as connection:
            await put_recipient(connection, channel, payer, email, language)
        return payer, email

    async def take(self, *messages: Message) -> None:
        """One batch of the consumer."""
        assert await handler(self.engine)(messages) == []

    async def later(self, seconds: float) -> None:
        """Let time pass: everything that waits has waited this much longer."""
        async with self.owner.begin() as connection:
            await connection.execute(
                text(
                    "UPDATE deliveries SET next_attempt_at = next_attempt_at - make_interval(secs => :seconds)"
                ),
                {"seconds": seconds},
            )

    async def deliveries(self) -> list[Any]:
        """All deliveries, the oldest first, with the seconds until they are due."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(
                text(
                    "SELECT *, extract(epoch FROM next_attempt_at - now())::float8 AS wait_seconds"
                    " FROM deliveries ORDER BY id"
                )
            )
            return list(rows)

    async def published(self) -> list[tuple[str, bytes]]:
        """Return the messages in the outbox: type and payload."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(text("SELECT type, payload FROM outbox ORDER BY id"))
            return [(row.type, bytes(row.payload)) for row in rows]


async def hall_on(
    stack: contextlib.AsyncExitStack, engine: AsyncEngine, owner: AsyncEngine, mailbox: MailBox
) -> Hall:
    """The service's parts, closed with the stack."""
    settings = Settings(
        notifications_database_url=SecretStr(engine.url.render_as_string(hide_password=False)),
        smtp_port=mailbox.smtp_port,
        public_url="https://hall.example",
        # Nobody answers there: names fall back to ids unless a test says otherwise.
        billing_url="http://127.0.0.1:9",
        webhook_allow_loopback=True,
        webhook_timeout_seconds=5,
    )
    names = BillerNames(settings.billing_url)
    mail = MailOutlet(Smtp(settings), names, settings.mail_from, settings.public_url)
    webhooks = WebhookOutlet(settings.webhook_timeout_seconds, allow_loopback=True)
    stack.push_async_callback(webhooks.aclose)
    stack.push_async_callback(mail.aclose)

    def new_sender() -> Sender:
        return Sender(engine, {"mail": mail, "webhook": webhooks}, {"mail": 8, "webhook": 16})

    return Hall(engine, owner, mailbox, settings, new_sender(), new_sender)


async def eventually(what: Callable[[], Awaitable[bool]], seconds: float = 30.0) -> None:
    """Wait until it is so; fail when it is not in time."""
    deadline = time.monotonic() + seconds
    while not await what():
        assert time.monotonic() < deadline, "it did not happen in time"
        await asyncio.sleep(0.05)
