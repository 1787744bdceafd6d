"""The trial balance and statements: they add up, at any time, and say so when the books do not."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing import ledger
from tests.support.command_line import meterhall
from tests.support.databases import Database

NOON = datetime(2026, 11, 23, 4, tzinfo=UTC)
DAY = timedelta(days=1)
ANNE, BO = (ledger.wallet("app", payer, "CNY") for payer in ("anne", "bo"))


async def post(engine: AsyncEngine, *transfers: ledger.Transfer) -> None:
    async with engine.begin() as connection:
        await ledger.post(connection, transfers)


@pytest.fixture
async def books(engine: AsyncEngine) -> AsyncEngine:
    """Two wallets over three days, and a payer in another currency."""
    hong_kong = ledger.wallet("app", "cy", "HKD")
    await post(
        engine,
        ledger.top_up(uuid7(), ANNE, 1_000, NOON),
        ledger.top_up(uuid7(), BO, 500, NOON),
        ledger.top_up(uuid7(), hong_kong, 70, NOON),
        ledger.pay_bill(uuid7(), ANNE, "power", 300, NOON + DAY),
        ledger.pay_bill(uuid7(), ANNE, "water", 200, NOON + 2 * DAY),
        ledger.pay_bill(uuid7(), BO, "water", 100, NOON + 2 * DAY),
    )
    return engine


async def test_the_trial_balance_is_zero_in_every_currency(books: AsyncEngine) -> None:
    async with books.connect() as connection:
        found = await ledger.trial_balance(connection)
    assert found.balanced
    expected = {
        (row.currency, row.account): (row.accounts, row.debits_minor, row.credits_minor)
        for row in found.rows
    }
    assert expected == {
        ("CNY", "wallet:*"): (2, 600, 1_500),
        ("CNY", "psp:stripe:clearing"): (1, 1_500, 0),
        ("CNY", "biller:power:payable"): (1, 0, 300),
        ("CNY", "biller:water:payable"): (1, 0, 300),
        ("HKD", "wallet:*"): (1, 0, 70),
        ("HKD", "psp:stripe:clearing"): (1, 70, 0),
    }


async def test_wallets_are_listed_on_request_and_the_past_stays_as_it_was(
    books: AsyncEngine,
) -> None:
    async with books.connect() as connection:
        listed = await ledger.trial_balance(connection, NOON + 1.5 * DAY, list_wallets=True)
    assert listed.balanced
    expected = {row.account: row.balance_minor for row in listed.rows if row.currency == "CNY"}
    assert expected == {
        "wallet:app:anne": 700,
        "wallet:app:bo": 500,
        "psp:stripe:clearing": -1_500,
        "biller:power:payable": 300,
    }


async def test_a_balance_that_was_tampered_with_is_named(
    books: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    async with owner_engine.begin() as connection:
        await connection.execute(
            text("UPDATE ledger_accounts SET balance_minor = 999 WHERE address = 'wallet:app:anne'")
        )
    async with books.connect() as connection:
        found = await ledger.trial_balance(connection, list_wallets=True)
    assert found.faults == (
        ["wallet:app:anne CNY: the balance kept is 999, the transfers add up to 500"]
    )


async def test_a_statement_runs_from_opening_to_closing(books: AsyncEngine) -> None:
    async with books.connect() as connection:
        found = await ledger.statement(
            connection, "wallet:app:anne", "CNY", NOON + DAY / 2, NOON + 3 * DAY
        )
    assert (found.opening_minor, found.closing_minor) == (1_000, 500)
    assert [
        (line.kind, line.counter_account, line.amount_minor, line.balance_minor)
        for line in found.lines
    ] == [
        ("pay_bill", "biller:power:payable", -300, 700),
        ("pay_bill", "biller:water:payable", -200, 500),
    ]


async def test_a_quiet_account_keeps_its_balance_and_an_unknown_one_is_an_error(
    books: AsyncEngine,
) -> None:
    async with books.connect() as connection:
        quiet = await ledger.statement(
            connection, "wallet:app:bo", "CNY", NOON + 10 * DAY, NOON + 11 * DAY
        )
        assert (quiet.opening_minor, list(quiet.lines), quiet.closing_minor) == (400, [], 400)
        with pytest.raises(ledger.NoSuchAccountError):
            await ledger.statement(connection, "wallet:app:nobody", "CNY", NOON, NOON + DAY)


async def test_the_command_line_prints_the_books_in_80_columns(
    books: AsyncEngine, database: Database, owner_engine: AsyncEngine
) -> None:
    shown = await meterhall(database, "ledger", "trial-balance")
    assert shown.code == 0, shown.err
    assert "wallet:* (2)" in shown.out
    assert "-15.00 CNY" in shown.out
    assert max(map(len, shown.out.splitlines())) <= 80
    result = await meterhall(
        database, "ledger", "statement", "wallet:app:anne", "--from", "2026-11-24", "--json",
        "--to", "2026-11-25",
    )  # fmt: skip
    output = json.loads(result.out)
    assert (output["opening_minor"], output["closing_minor"], len(output["lines"])) == (
        1_000,
        500,
        2,
    )
    table = await meterhall(
        database, "ledger", "statement", "wallet:app:anne", "--to", "2026-11-25"
    )
    assert max(map(len, table.out.splitlines())) <= 80
    past = json.loads(
        (
            await meterhall(database, "ledger", "trial-balance", "--as-of", "2026-11-23", "--json")
        ).out
    )
    assert past["balanced"] is True
    assert {row["account"] for row in past["rows"]} == {"wallet:*", "psp:stripe:clearing"}
    unknown = await meterhall(database, "ledger", "statement", "wallet:app:nobody")
    assert unknown.code == 1
    assert len(unknown.err.splitlines()) == 1
    async with owner_engine.begin() as connection:
        await connection.execute(text("UPDATE ledger_accounts SET balance_minor = 0"))
    wrong = await meterhall(database, "ledger", "trial-balance")
    assert wrong.code == 1
    assert "do not balance" in wrong.err
