"""The settings and the database connection of a command."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.command import read_settings
from services.billing.settings import Settings

ResultT = TypeVar("ResultT")

# A command may read the whole ledger or import a file of millions of bills, and its caller can stop it. A forgotten
# command must not keep its snapshot for a day, because payments get slower meanwhile (decision 12).
COMMAND_SECONDS = 4 * 3600.0


@cache
def settings() -> Settings:
    """Return the settings from the environment; ends the command when some are missing."""
    return read_settings(Settings)


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run the asynchronous part of a command."""
    return asyncio.run(work)


@asynccontextmanager
async def engine() -> AsyncIterator[AsyncEngine]:
    """Yield billing's engine."""
    from services.billing.database import connect

    url = settings().database_url.get_secret_value()
    database = connect(url, pool_size=2, transaction_seconds=COMMAND_SECONDS)
    try:
        yield database
    finally:
        await database.dispose()


@asynccontextmanager
async def transaction() -> AsyncIterator[AsyncConnection]:
    """Yield a connection in a transaction, which is committed at the end."""
    async with engine() as database, database.begin() as connection:
        yield connection
