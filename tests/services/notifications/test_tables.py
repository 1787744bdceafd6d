"""The tables: declared as they are migrated, and no more rights than the service needs."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.notifications.database import metadata
from services.notifications.deliveries.tables import deliveries
from services.notifications.recipients.tables import recipients


async def test_the_migration_makes_what_the_service_declares(owner: AsyncEngine) -> None:
    def differences(connection: Connection) -> list[object]:
        connection.dialect.default_schema_name = "notifications"

        def ours(name: str | None, kind: str, _: object) -> bool:
            # Partitions come and go, and the version table is Alembic's.
            return kind != "table" or not str(name).startswith(("outbox_p", "alembic_version"))

        context = MigrationContext.configure(connection, opts={"include_name": ours})
        return list(compare_metadata(context, metadata))

    assert {deliveries.name, recipients.name, "outbox"} <= metadata.tables.keys()
    async with owner.connect() as connection:
        assert await connection.run_sync(differences) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE deliveries SET body = ''",
        "UPDATE deliveries SET event_id = id",
        "UPDATE deliveries SET created_at = now()",
        "UPDATE tokens SET hash = ''",
        "UPDATE recipients SET channel = 'x'",
        "DELETE FROM channels",
        "DELETE FROM endpoints",
        "DELETE FROM outbox",
        "TRUNCATE deliveries",
        "SELECT * FROM billing.payments",
    ],
)
async def test_the_application_may_not(engine: AsyncEngine, statement: str) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="permission denied"):
            await connection.execute(text(statement))
