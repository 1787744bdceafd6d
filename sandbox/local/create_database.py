"""A database and its owner, on a server whose superuser lets us."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool


def create_database(superuser_url: str, name: str, owner: str, password: str) -> None:
    """Create what is missing. The owner may create roles, because migrations create the applications' ones."""
    asyncio.run(_create(superuser_url, name, owner, password))


async def _create(superuser_url: str, name: str, owner: str, password: str) -> None:
    engine = create_async_engine(superuser_url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
    try:
        async with engine.connect() as connection:
            known = await connection.scalar(
                text("SELECT 1 FROM pg_roles WHERE rolname = :name"), {"name": owner}
            )
            verb = "ALTER" if known else "CREATE"
            literal = password.replace("'", "''").replace(":", r"\:")
            await connection.execute(
                text(f"{verb} ROLE {owner} LOGIN CREATEROLE PASSWORD '{literal}'")
            )
            exists = await connection.scalar(
                text("SELECT 1 FROM pg_database WHERE datname = :name"), {"name": name}
            )
            if not exists:
                await connection.execute(text(f"CREATE DATABASE {name} OWNER {owner}"))
    finally:
        await engine.dispose()
