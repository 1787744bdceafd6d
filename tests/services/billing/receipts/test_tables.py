"""The receipts' table is the one that the migration makes, and the application may only add to it and void."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import inspect, text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events.ids import uuid7
from services.billing import receipts
from services.billing.receipts.tables import receipts as table

PAID = datetime(2026, 11, 23, 2, 30, tzinfo=UTC)


def one() -> receipts.NewReceipt:
    return receipts.NewReceipt(uuid7(), "hz-water", uuid7(), "B-1", "2026-10", 8850, "CNY", PAID)


async def test_the_declaration_and_the_migration_agree(engine: AsyncEngine) -> None:
    def read(connection: AsyncConnection) -> tuple[dict[str, bool], set[str | None]]:
        found = inspect(connection)
        columns = {each["name"]: each["nullable"] for each in found.get_columns("receipts")}
        return columns, {each["name"] for each in found.get_check_constraints("receipts")}

    async with engine.connect() as connection:
        columns, checks = await connection.run_sync(read)  # type: ignore[arg-type]
    assert columns == {column.name: column.nullable for column in table.columns}
    declared = {str(each.name) for each in table.constraints if str(each.name).startswith("ck_")}
    assert checks == declared


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM receipts",
        "TRUNCATE receipts",
        "UPDATE receipts SET amount_minor = 1",
        "UPDATE receipts SET number = repeat('0', 24)",
        "UPDATE receipts SET issued_at = now()",
        "INSERT INTO receipts (number, voided_at) VALUES (repeat('0', 24), now())",
    ],
)
async def test_the_application_may_not_rewrite_a_receipt(
    engine: AsyncEngine, statement: str
) -> None:
    async with engine.begin() as connection:
        await receipts.issue(connection, [one()])
    with pytest.raises(DBAPIError, match="permission denied"):
        async with engine.begin() as connection:
            await connection.execute(text(statement))


@pytest.mark.parametrize(
    ("change", "constraint"),
    [
        ("voided_at = now()", "voided_with_a_reason"),
        ("void_reason = 'refunded'", "voided_with_a_reason"),
        ("voided_at = now(), void_reason = 'mislaid'", "void_reason_is_declared"),
        ("amount_minor = 0", "amount_is_positive"),
        ("number = '20261123'", "number_has_24_characters"),
    ],
)
async def test_contradictory_receipts_cannot_be_stored(
    owner_engine: AsyncEngine, change: str, constraint: str
) -> None:
    async with owner_engine.connect() as connection:
        await connection.execute(text("SET search_path TO billing"))
        await receipts.issue(connection, [one()])
        with pytest.raises(IntegrityError, match=constraint):
            await connection.execute(text(f"UPDATE receipts SET {change}"))
