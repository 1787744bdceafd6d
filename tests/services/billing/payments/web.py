"""The web's half of payments, served over TCP, and a Kafka in between that delivers what it promised."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast
from uuid import UUID

import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import decode
from events.topics import PAYMENT_COMMANDS
from messaging.consume import Message, Rejected
from sandbox.ports import HOST, free_port, listens, wait_until
from services.billing import problems
from services.billing.payments import Payments, routes, webhooks
from services.billing.payments.consumer import take
from services.billing.settings import Settings


@asynccontextmanager
async def serve(engine: AsyncEngine, webhook_secret: str = "") -> AsyncIterator[str]:
    """The address at which the routes and webhooks of payments answer."""
    app = FastAPI()
    app.state.engine = engine
    app.state.settings = Settings(
        database_url=SecretStr(""), psp_webhook_secret=SecretStr(webhook_secret)
    )
    problems.install(app)
    app.include_router(routes.router)
    app.include_router(webhooks.router)
    port = free_port()
    server = uvicorn.Server(uvicorn.Config(app, host=HOST, port=port, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    await asyncio.to_thread(wait_until, lambda: listens(port), "the web", 10)
    yield f"http://{HOST}:{port}"
    server.should_exit = True
    await serving


async def deliver(engine: AsyncEngine, payments: Payments) -> list[Rejected]:
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
    refused = await take(payments, messages) if messages else []
    await payments.drain()
    return refused


def message(event: Any, correlation_id: str | None = None) -> Message:
    """A command as the consumer gets it, without a record."""
    return Message(cast(Any, None), UUID(int=0), type(event).ce_type(), event, None, correlation_id)


def _message(row: Any) -> Message:
    headers = [("ce_id", str(row.event_id).encode()), ("ce_type", f"meterhall.{row.type}".encode())]
    found = decode(PAYMENT_COMMANDS.name, row.key.encode(), row.payload, headers)
    return message(found.event, row.correlation_id)
