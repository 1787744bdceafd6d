"""What most commands need: the settings, and a connection to billing's database for as long as the command runs."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.command import read_settings
from services.billing.settings import Settings

ResultT = TypeVar("ResultT")

# A command may read the whole ledger or import a file of millions of bills, and who called it can stop it. What is
# forgotten must not keep its snapshot for a day, because payments get slower meanwhile (decision 12).
COMMAND_SECONDS = 4 * 3600.0


@cache
def settings() -> Settings:
    """The settings from the environment; ends the command when some are missing."""
    return read_settings(Settings)


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run the asynchronous part of a command."""
    return asyncio.run(work)


@asynccontextmanager
async def engine() -> AsyncIterator[AsyncEngine]:
    """Billing's engine."""
    from services.billing.database import connect

    url = settings().database_url.get_secret_value()
    made = connect(url, pool_size=2, transaction_seconds=COMMAND_SECONDS)
    try:
        yield made
    finally:
        await made.dispose()


@asynccontextmanager
async def transaction() -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction, committed at the end."""
    async with engine() as made, made.begin() as connection:
        yield connection
