"""What most commands need: the settings, and a connection to billing's database for as long as the command runs."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from functools import cache
from typing import Any, TypeVar

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.billing.cli.output import fail
from services.billing.settings import Settings

ResultT = TypeVar("ResultT")


@cache
def settings() -> Settings:
    """The settings from the environment; says which is missing."""
    try:
        return Settings()
    except ValidationError as error:
        missing = ", ".join(f"METERHALL_{each['loc'][0]}".upper() for each in error.errors())
        fail(
            f'Set {missing}. For the sandbox\'s city: eval "$(meterhall env)" while `make up` runs.'
        )


def run(work: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run the asynchronous part of a command."""
    return asyncio.run(work)


@asynccontextmanager
async def engine() -> AsyncIterator[AsyncEngine]:
    """Billing's engine."""
    from services.billing.database import connect

    made = connect(settings().database_url.get_secret_value(), pool_size=2)
    try:
        yield made
    finally:
        await made.dispose()


@asynccontextmanager
async def transaction() -> AsyncIterator[AsyncConnection]:
    """A connection in a transaction, committed at the end."""
    async with engine() as made, made.begin() as connection:
        yield connection
