"""An outbox that was created before commands were signed gets the column, and the application may write it."""

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
    """Take the service's history back to the revision before signatures."""
    command.downgrade(apply.config_of(service, database.owner_url), BEFORE[service])


async def write(engine: AsyncEngine, topic: Topic) -> str | None:
    """Enqueue a message with a signature as the application does; what the outbox has of it."""
    message = Outgoing(uuid7(), topic, "key", 1, "Tested.v1", b"{}", signature="k=a,v1=b")
    async with engine.begin() as connection:
        await enqueue(connection, [message])
    async with engine.connect() as connection:
        found: str | None = await connection.scalar(text("SELECT signature FROM outbox"))
        return found


async def test_an_outbox_from_before_is_upgraded(database: Database) -> None:
    for service in BEFORE:
        await asyncio.to_thread(downgrade, database, service)
    billing = connect(database.billing_url)
    notifications = connect_notifications(database.notifications_url)
    with pytest.raises(asyncpg.UndefinedColumnError):
        await write(billing, PAYMENT_COMMANDS)
    urls = (database.owner_url, database.billing_url, database.notifications_url)
    for _ in range(2):  # a second run changes nothing
        await asyncio.to_thread(apply.migrate, *urls)
    assert await write(billing, PAYMENT_COMMANDS) == "k=a,v1=b"
    assert await write(notifications, DELIVERY_EVENTS) == "k=a,v1=b"
    await billing.dispose()
    await notifications.dispose()
