"""Alembic's environment for both histories. Each service has its own schema, and its own version table in it."""

import asyncio
import os

from alembic import context
from sqlalchemy import Connection, text
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

config = context.config


def migrate(connection: Connection) -> None:
    """Run the history of the schema that alembic.ini names, in one transaction."""
    schema = config.get_main_option("schema")
    assert schema in {"billing", "notifications"}
    connection.execute(text(f"SET search_path TO {schema}"))
    connection.commit()
    connection.dialect.default_schema_name = schema
    context.configure(connection=connection, version_table_schema=schema)
    with context.begin_transaction():
        context.run_migrations()


async def connect_and_migrate() -> None:
    """Migrate the database of the owner."""
    url = config.attributes.get("url") or os.environ["METERHALL_OWNER_DATABASE_URL"]
    engine = create_async_engine(url, poolclass=NullPool)
    try:
        async with engine.connect() as connection:
            await connection.run_sync(migrate)
    finally:
        await engine.dispose()


asyncio.run(connect_and_migrate())
