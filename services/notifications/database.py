"""Notifications' metadata with its outbox, and its engine."""

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import database
from messaging.outbox import outbox_tables

SCHEMA = "notifications"
metadata = database.new_metadata()
outbox_tables(metadata)


def connect(url: str, *, pool_size: int = 8) -> AsyncEngine:
    """Return an engine of notifications. `url` is postgresql+asyncpg://…; nothing is opened yet."""
    return database.connect(url, SCHEMA, pool_size=pool_size)
