"""asyncpg without SQLAlchemy: for what is not measured, and for COPY."""

from typing import Any

import asyncpg
from sqlalchemy import make_url


async def connect_directly(url: str, schema: str = "billing") -> "asyncpg.Connection[Any]":
    """A connection to an SQLAlchemy URL."""
    named = make_url(url)
    return await asyncpg.connect(
        host=named.host,
        port=named.port,
        user=named.username,
        password=named.password,
        database=named.database,
        server_settings={"search_path": schema},
    )
