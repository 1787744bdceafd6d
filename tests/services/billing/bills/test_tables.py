"""The declared tables are those that the migrations have created."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.bills import tables as bills
from services.billing.catalog import tables as catalog
from services.billing.channels import tables as channels
from services.billing.database import metadata

MINE = {
    *(each.name for each in (bills.accounts, bills.bills, bills.lookups)),
    *(each.name for each in (catalog.divisions, catalog.billers)),
    *(each.name for each in (catalog.services, catalog.coverage)),
    *(each.name for each in (channels.channels, channels.api_keys, channels.idempotency_keys)),
}


async def test_tables_and_migrations_agree(owner_engine: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection,
            opts={
                "compare_type": True,
                "compare_server_default": True,
                "include_name": lambda name, kind, _: kind != "table" or name in MINE,
                "include_object": lambda thing, name, kind, *_: kind != "table" or name in MINE,
            },
        )
        return list(compare_metadata(context, metadata))

    async with owner_engine.connect() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM billers",
        "UPDATE billers SET id = 'x'",
        "DELETE FROM divisions",
        "UPDATE accounts SET account_number = 'x'",
        "UPDATE accounts SET biller_id = 'x'",
        "DELETE FROM accounts",
        "UPDATE bills SET id = gen_random_uuid()",
        "UPDATE bills SET bill_number = 'x'",
        "DELETE FROM bills",
        "UPDATE lookups SET account_id = id",
        "UPDATE lookups SET channel_id = 'x'",
        "DELETE FROM lookups",
        "UPDATE api_keys SET hash = ''",
        "DELETE FROM api_keys",
        "UPDATE idempotency_keys SET resource_id = resource_id",
        "DELETE FROM channels",
    ],
)
async def test_the_application_may_not(engine: AsyncEngine, statement: str) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="permission denied"):
            await connection.execute(text(statement))
