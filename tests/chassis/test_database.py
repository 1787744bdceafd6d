"""copy() behaves as an INSERT: it joins the transaction, and violations name their constraint."""

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import copy, violated
from events.ids import uuid7
from messaging.transient import is_transient

COLUMNS = ("id", "name", "max_payment_minor")


async def names(engine: AsyncEngine) -> list[str]:
    async with engine.connect() as connection:
        return list((await connection.execute(text("SELECT name FROM channels"))).scalars())


async def test_rolled_back_rows_are_gone_even_when_copy_was_the_first_statement(
    owner_engine: AsyncEngine,
) -> None:
    async with owner_engine.connect() as connection:
        await copy(connection, "channels", COLUMNS, [("app", "An app", 1)])
        await connection.rollback()
    assert await names(owner_engine) == []
    async with owner_engine.begin() as connection:
        await copy(connection, "channels", COLUMNS, [("app", "An app", 1), ("other", "O", 2)])
    assert await names(owner_engine) == ["An app", "O"]


async def test_copy_and_insert_name_the_violated_constraint_alike(
    owner_engine: AsyncEngine,
) -> None:
    async with owner_engine.begin() as connection:
        await copy(connection, "channels", COLUMNS, [("app", "An app", 1)])
    with pytest.raises(IntegrityError, match="pk_channels") as copied:
        async with owner_engine.begin() as connection:
            await copy(connection, "channels", COLUMNS, [("b", "B", 1), ("app", "Again", 1)])
    with pytest.raises(IntegrityError) as inserted:
        async with owner_engine.begin() as connection:
            await connection.execute(
                text("INSERT INTO channels (id, name, max_payment_minor) VALUES ('app', 'A', 1)")
            )
    assert violated(copied.value) == violated(inserted.value) == "pk_channels"
    assert await names(owner_engine) == ["An app"]


async def test_an_error_does_not_quote_the_rows(owner_engine: AsyncEngine) -> None:
    secret = str(uuid7())
    with pytest.raises(IntegrityError) as error:
        async with owner_engine.begin() as connection:
            await copy(connection, "channels", COLUMNS, [("app", secret, -1)])
    assert secret not in str(error.value)


async def test_a_session_that_dies_in_a_copy_is_a_transient_error_and_the_next_one_works(
    owner_engine: AsyncEngine,
) -> None:
    with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)) as raised:
        async with owner_engine.begin() as connection:
            victim = await connection.scalar(text("SELECT pg_backend_pid()"))
            async with owner_engine.connect() as other:
                await other.execute(text(f"SELECT pg_terminate_backend({victim}, 5000)"))
            await copy(connection, "channels", COLUMNS, [("app", "An app", 1)])
    assert is_transient(raised.value)
    for _ in range(3):
        assert await names(owner_engine) == []


async def test_copying_no_rows_executes_no_statement(owner_engine: AsyncEngine) -> None:
    async with owner_engine.connect() as connection:
        await copy(connection, "channels", COLUMNS, [])
        assert not connection.in_transaction()
