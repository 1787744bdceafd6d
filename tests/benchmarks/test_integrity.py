"""Wrong books are found by counting and by adding up."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks import integrity


def test_only_expected_counts_are_compared() -> None:
    found = {"receipts": 1_200, "transfers": 7}
    assert integrity.differences(found, {"receipts": 1_200}) == []
    assert integrity.differences(found, {"receipts": 1_201}) == ["1,200 receipts instead of 1,201"]


async def test_missing_payments_and_unbalanced_books_are_found(
    engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    assert await integrity.books(engine, 0) == []
    assert await integrity.counts(engine, 1) == [
        "0 payments succeeded instead of 1",
        "0 receipts instead of 1",
        "0 pay bill transfers instead of 1",
    ]
    async with owner_engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO ledger_accounts (address, currency, no_overdraft, balance_minor)
                VALUES ('biller:power:payable', 'CNY', false, 5)
            """)
        )
    assert await integrity.counts(engine, 0) == [
        "5 all balances minor instead of 0",
        "5 owed to billers minor instead of 0",
    ]
