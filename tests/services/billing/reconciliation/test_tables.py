"""The database itself refuses to rewrite evidence and to consume a line or transfer twice."""

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.reconciliation import reconcile
from tests.services.billing.reconciliation import books
from tests.services.billing.reconciliation.books import DAY, charge


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM breaks",
        "DELETE FROM matches",
        "DELETE FROM statements",
        "UPDATE statement_lines SET amount_minor = 1",
        "UPDATE statements SET totals = '{}'",
        "UPDATE matches SET transfer_id = NULL",
        "UPDATE breaks SET opened_at = now()",
    ],
)
async def test_the_application_may_not_rewrite_the_evidence(
    engine: AsyncEngine, statement: str
) -> None:
    with pytest.raises(DBAPIError, match="permission denied"):
        async with engine.begin() as connection:
            await connection.execute(text(statement))


async def test_a_line_and_a_transfer_can_be_consumed_only_once(engine: AsyncEngine) -> None:
    paid = (await books.pay(engine, [100]))[0]
    await books.keep(engine, [charge(paid, 100), charge(paid, 100)])
    await reconcile(engine, DAY)
    for what in ("line", "transfer"):
        with pytest.raises(IntegrityError, match=f"uq_matches_{what}_once"):
            async with engine.begin() as connection:
                await connection.execute(
                    text(f"""
                        INSERT INTO matches (source, head, line_id, transfer_id, rule)
                        SELECT 'psp', head, {"line_id" if what == "line" else "NULL"},
                            {"NULL" if what == "line" else "transfer_id"}, 'reference' FROM matches
                    """)
                )
