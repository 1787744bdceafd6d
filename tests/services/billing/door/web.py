"""The HTTP door, served over TCP, and a Kafka in between that delivers its commands."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID, uuid4

import httpx
import uvicorn
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.http import web
from events.envelope import decode
from events.topics import PAYMENT_COMMANDS
from messaging.consumer import Message, Rejected
from sandbox.local.ports import HOST, free_port, listens, wait_until
from services.billing.bills import routes as bills
from services.billing.door import routes, webhooks
from services.billing.door.unkept import Promises
from services.billing.settings import Settings
from tests.support.commands import DOOR_KEY
from tests.support.errands import PayingProcess


@asynccontextmanager
async def serve(engine: AsyncEngine, webhook_secret: str = "") -> AsyncIterator[str]:
    """The address at which the routes and webhooks of payments, and the routes of bills, answer."""
    settings = Settings(database_url=SecretStr(""), psp_webhook_secret=SecretStr(webhook_secret))
    app = web.create(
        "Meterhall", "", engine, settings, (routes.router, webhooks.router, bills.router)
    )
    app.state.door_key = DOOR_KEY
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    await asyncio.to_thread(wait_until, lambda: listens(port), "the web", 10)
    yield f"http://{HOST}:{port}"
    server.should_exit = True
    await serving


async def deliver(engine: AsyncEngine, payments: PayingProcess) -> list[Rejected]:
    """Hand the worker every command that is in the outbox, as Kafka would: all of them again each time."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT event_id, type, key, payload, correlation_id FROM outbox WHERE topic = :topic AND raw IS NULL
                ORDER BY id
            """),
            {"topic": PAYMENT_COMMANDS.code},
        )
        messages = [_message(row) for row in rows]
    refused = (
        await payments.handle_commands(Promises(engine, DOOR_KEY), messages) if messages else []
    )
    await payments.drain()
    return list(refused)


def message(event: Any, correlation_id: str | None = None) -> Message:
    """A command as the consumer gets it, without a record."""
    return Message(
        cast(Any, None), UUID(int=0), type(event).ce_type(), event, None, correlation_id, {}
    )


def _message(row: Any) -> Message:
    headers = [("ce_id", str(row.event_id).encode()), ("ce_type", f"meterhall.{row.type}".encode())]
    found = decode(PAYMENT_COMMANDS.name, row.key.encode(), row.payload, headers)
    return message(found.event, row.correlation_id)


class Wallet:
    """A wallet app: one channel's key at one address."""

    def __init__(self, url: str, key: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, headers={"Authorization": f"Bearer {key}"})

    async def get(self, path: str, **params: Any) -> httpx.Response:
        return await self.client.get(path, params=params)

    async def post(self, path: str, body: object, key: str | None = None) -> httpx.Response:
        return await self.client.post(
            path, json=body, headers={"Idempotency-Key": key or uuid4().hex}
        )

    async def pay(self, bill: UUID, key: str | None = None, **other: Any) -> httpx.Response:
        body = {
            "bill_id": str(bill),
            "payer": "payer-1",
            "amount_minor": 8_850,
            "currency": "CNY",
            "funding": {"kind": "wallet"},
        }
        return await self.post("/v1/payments", body | other, key)


def problem(answer: httpx.Response, status: int, slug: str) -> dict[str, Any]:
    """The answer is this problem, in the form of RFC 9457."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = answer.json()
    assert body["type"] == f"/problems/{slug}"
    assert body["status"] == status
    assert body["title"]
    assert body["detail"]
    return body
