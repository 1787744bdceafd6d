"""Bring a database up to date: roles, schemas and both histories. Running it again changes nothing.

The owner role needs CREATEROLE and the right to create schemas; the application roles get neither.
"""

import asyncio
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import text
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

ROOT = Path(__file__).parent.parent
SERVICES = {"billing": "billing_app", "notifications": "notifications_app"}


def migrate(owner_url: str, billing_url: str, notifications_url: str) -> None:
    """Create what is missing and upgrade both histories to head. Not to be called from a running event loop."""
    passwords = {
        "billing_app": make_url(billing_url).password or "",
        "notifications_app": make_url(notifications_url).password or "",
    }
    asyncio.run(_prepare(owner_url, passwords))
    for service in SERVICES:
        command.upgrade(config_of(service, owner_url), "head")


def config_of(service: str, owner_url: str) -> Config:
    """Alembic's configuration for the history of one service."""
    config = Config(str(ROOT / "alembic.ini"), ini_section=service)
    config.set_main_option("script_location", str(ROOT / "migrations"))
    versions = ROOT / "migrations" / service / "versions"
    config.set_main_option("version_locations", str(versions))
    config.attributes["url"] = owner_url
    return config


async def _prepare(owner_url: str, passwords: dict[str, str]) -> None:
    engine = create_async_engine(owner_url, poolclass=NullPool)
    try:
        async with engine.begin() as connection:
            # Two migrations at once would both find a role missing.
            await connection.execute(
                text("SELECT pg_advisory_xact_lock(hashtext('meterhall migrate'))")
            )
            rows = await connection.execute(text("SELECT rolname FROM pg_roles"))
            existing = set(rows.scalars())
            for role, password in passwords.items():
                verb = "ALTER" if role in existing else "CREATE"
                literal = password.replace("'", "''")
                await connection.execute(
                    text(f"{verb} ROLE {role} LOGIN PASSWORD '{literal}'".replace(":", r"\:"))
                )
            for schema, role in SERVICES.items():
                await connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {schema}"))
                await connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {role}"))
                await connection.execute(text(f"ALTER ROLE {role} SET search_path = {schema}"))
    finally:
        await engine.dispose()
