"""Billing's metadata, and its engine. There is no ORM on the hot path."""

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import database

SCHEMA = "billing"
metadata = database.new_metadata()


def connect(
    url: str, *, pool_size: int = 8, plan_cache_mode: database.PlanCacheMode = "auto"
) -> AsyncEngine:
    """An engine of billing. `url` is postgresql+asyncpg://…; nothing is opened yet."""
    return database.connect(url, SCHEMA, pool_size=pool_size, plan_cache_mode=plan_cache_mode)
