"""An outbox that was created without the column `signature` gets it, and the application role may write it."""

import asyncio

import asyncpg
import pytest
from alembic import command
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from events.topics import DELIVERY_EVENTS, PAYMENT_COMMANDS, Topic
from messaging.outbox import Outgoing, enqueue
from migrations import apply
from services.billing.database import connect
from services.notifications.database import connect as connect_notifications
from tests.support.databases import Database

BEFORE = {"billing": "0011", "notifications": "0002"}


def downgrade(database: Database, service: str) -> None:
    """Downgrade the service's database to the revision before signatures."""
    command.downgrade(apply.config_of(service, database.owner_url), BEFORE[service])


async def enqueue_signed(engine: AsyncEngine, topic: Topic) -> str | None:
    """Enqueue a signed message as the application role; return the stored signature."""
    message = Outgoing(uuid7(), topic, "key", 1, "Tested.v1", b"{}", signature="k=a,v1=b")
    async with engine.begin() as connection:
        await enqueue(connection, [message])
    async with engine.connect() as connection:
        stored: str | None = await connection.scalar(text("SELECT signature FROM outbox"))
        return stored


async def test_an_outbox_without_signatures_is_upgraded(database: Database) -> None:
    for service in BEFORE:
        await asyncio.to_thread(downgrade, database, service)
    billing = connect(database.billing_url)
    notifications = connect_notifications(database.notifications_url)
    with pytest.raises(asyncpg.UndefinedColumnError):
        await enqueue_signed(billing, PAYMENT_COMMANDS)
    urls = (database.owner_url, database.billing_url, database.notifications_url)
    for _ in range(2):  # a second run changes nothing
        await asyncio.to_thread(apply.migrate, *urls)
    assert await enqueue_signed(billing, PAYMENT_COMMANDS) == "k=a,v1=b"
    assert await enqueue_signed(notifications, DELIVERY_EVENTS) == "k=a,v1=b"
    await billing.dispose()
    await notifications.dispose()
