"""Whatever is changed after it was sealed shows."""

import json
from datetime import datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing import ledger
from services.billing.ledger.seals import SPAN
from tests.services.billing.ledger.sealing import (
    START,
    all_sealed,
    broken,
    execute,
    make_books,
)
from tests.support.command_line import meterhall
from tests.support.databases import Database


@pytest.fixture
async def books(engine: AsyncEngine, owner_engine: AsyncEngine) -> AsyncEngine:
    """A top-up, four payments and a refund of one of them, a span apart each. Nothing is sealed."""
    await make_books(engine, owner_engine)
    return engine


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (
            "UPDATE transfers SET amount_minor = amount_minor + 1 WHERE amount_minor = 101",
            "changed",
        ),
        ("UPDATE transfers SET kind = 'remittance' WHERE amount_minor = 101", "changed"),
        ("UPDATE transfers SET currency = 'HKD' WHERE amount_minor = 101", "changed"),
        ("UPDATE transfers SET id = gen_random_uuid() WHERE amount_minor = 101", "changed"),
        ("UPDATE transfers SET occurred_at = now() WHERE amount_minor = 101", "changed"),
        ("UPDATE transfers SET corrects = NULL WHERE kind = 'refund'", "changed"),
        (
            """UPDATE transfers SET debit_account = credit_account, credit_account = debit_account
               WHERE amount_minor = 101""",
            "changed",
        ),
        (
            "DELETE FROM transfers WHERE amount_minor = 101",
            "sealed with 1 transfers, and there are 0",
        ),
        (
            """INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, occurred_at,
                   created_at)
               SELECT gen_random_uuid(), kind, debit_account, credit_account, 1, currency, occurred_at, created_at
               FROM transfers WHERE amount_minor = 101""",
            "sealed with 1 transfers, and there are 2",
        ),
    ],
)
async def test_a_transfer_that_is_changed_later_breaks_its_seal_and_no_other(
    books: AsyncEngine, owner_engine: AsyncEngine, change: str, what: str
) -> None:
    await all_sealed(books)
    await execute(owner_engine, change)
    (found,) = await broken(books)
    assert what in found.what
    assert found.seal.since in {START + 2 * SPAN, START + 5 * SPAN}


async def test_an_account_that_gets_another_name_breaks_the_seals_of_its_transfers(
    books: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await all_sealed(books)
    await execute(
        owner_engine,
        "UPDATE ledger_accounts SET address = 'wallet:app:thief' WHERE address LIKE 'wallet:%'",
    )
    assert len(await broken(books)) == 6


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE seals SET digest = sha256(digest) WHERE transfers = 1",
        "UPDATE seals SET transfers = 2 WHERE transfers = 1",
        "DELETE FROM seals WHERE transfers = 1 AND since > (SELECT min(since) FROM seals)",
        "DELETE FROM seals WHERE since = (SELECT min(since) FROM seals)",
    ],
)
async def test_a_seal_that_is_changed_or_taken_away_is_found(
    books: AsyncEngine, owner_engine: AsyncEngine, change: str
) -> None:
    await all_sealed(books)
    await execute(owner_engine, change)
    assert await broken(books)


async def test_history_that_is_sealed_anew_has_other_digests(
    books: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    kept = (await all_sealed(books))[-1].digest
    async with books.connect() as connection:
        found = await ledger.verify(connection, kept)
    assert found.anchored_until == found.until
    assert (found.transfers, found.broken) == (6, [])
    await execute(owner_engine, "UPDATE transfers SET amount_minor = 102 WHERE amount_minor = 101")
    await execute(owner_engine, "DELETE FROM sealed_sums")
    await execute(owner_engine, "DELETE FROM seals")
    await all_sealed(books)
    async with books.connect() as connection:
        found = await ledger.verify(connection, kept)
    assert found.broken == [], "the owner of the database can seal a forged history"
    assert found.anchored_until is None, "but cannot reproduce a digest that was kept elsewhere"


async def test_the_command_line_verifies_and_knows_an_anchor(
    books: AsyncEngine, database: Database, owner_engine: AsyncEngine
) -> None:
    nothing = await meterhall(database, "ledger", "verify")
    assert (nothing.code, "Nothing is sealed yet" in nothing.out) == (0, True)
    anchor = (await all_sealed(books))[3].digest.hex()
    shown = await meterhall(database, "ledger", "verify", "--anchor", anchor)
    assert shown.code == 0, shown.err
    assert "over 6 transfers" in shown.out
    assert "nothing before was changed" in " ".join(shown.out.split())
    other = await meterhall(database, "ledger", "verify", "--anchor", "00" * 32)
    assert (other.code, "No seal has this digest" in other.err) == (1, True)
    typo = await meterhall(database, "ledger", "verify", "--anchor", "twelve")
    assert (typo.code, "64 hexadecimal digits" in typo.err) == (1, True)
    await execute(owner_engine, "DELETE FROM transfers WHERE amount_minor = 101")
    wrong = await meterhall(database, "ledger", "verify", "--anchor", anchor, "--json")
    assert wrong.code == 1
    assert "there are 0" in wrong.err
    (output,) = json.loads(wrong.out)["broken"]
    assert datetime.fromisoformat(output["since"]) == START + 2 * SPAN
