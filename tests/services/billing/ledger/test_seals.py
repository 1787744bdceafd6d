"""Seals: nothing is left out or counted twice while others write, and every later change is found."""

import asyncio
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing import ledger
from services.billing.database import summarize_new_blocks
from services.billing.ledger import seals as sealing
from services.billing.ledger.seals import AT_ONCE, SPAN
from tests.services.billing.ledger.sealing import (
    NOON,
    START,
    WALLET,
    all_sealed,
    broken,
    execute,
    make_books,
    post,
    seal,
)


@pytest.fixture
async def books(engine: AsyncEngine, owner_engine: AsyncEngine) -> AsyncEngine:
    """A top-up, four payments and a refund of one of them, a span apart each. Nothing is sealed."""
    await make_books(engine, owner_engine)
    return engine


async def test_an_empty_ledger_and_the_last_minutes_are_not_sealed(
    engine: AsyncEngine,
) -> None:
    assert await seal(engine) == []
    await post(engine, ledger.top_up(uuid7(), WALLET, 100, NOON))
    assert await seal(engine) == []
    async with engine.connect() as connection:
        assert await ledger.sealed_until(connection) is None


async def test_spans_follow_each_other_up_to_now_with_and_without_transfers(
    books: AsyncEngine,
) -> None:
    first = await seal(books)
    assert [each.transfers for each in first] == [1] * 6 + [0] * (AT_ONCE - 6)
    assert first[0].since == START
    sealed = first + await all_sealed(books)
    assert all(before.until == each.since for before, each in pairwise(sealed))
    assert SPAN <= datetime.now(UTC) - sealed[-1].until < 3 * SPAN
    assert len({each.digest for each in sealed}) == len(sealed)
    assert await broken(books) == []


async def test_sealed_transfers_are_summed_by_bucket(books: AsyncEngine) -> None:
    await all_sealed(books)
    async with books.connect() as connection:
        differ = await connection.scalar(
            text("""
                SELECT count(*) FROM (
                    SELECT id % :buckets AS bucket, sum(balance_minor) AS minor FROM ledger_accounts GROUP BY 1
                ) AS kept FULL JOIN sealed_sums s USING (bucket) WHERE s.balance_minor IS DISTINCT FROM kept.minor
            """),
            {"buckets": ledger.BUCKETS},
        )
    assert differ == 0


async def test_a_digest_can_be_computed_by_anybody(books: AsyncEngine) -> None:
    sealed = await seal(books)
    async with books.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT t.*, d.address AS debit, c.address AS credit FROM transfers t
                JOIN ledger_accounts d ON d.id = t.debit_account JOIN ledger_accounts c ON c.id = t.credit_account
                ORDER BY t.created_at
            """)
        )
        lines = [
            f"{row.id}|{row.kind}|{row.debit}|{row.credit}|{row.amount_minor}|{row.currency}|{row.corrects or ''}|"
            f"{row.occurred_at.timestamp():.6f}"
            for row in rows
        ]
    before = b""
    for number, each in enumerate(sealed):
        found = sha256(lines[number].encode()).digest() if number < len(lines) else b""
        contents = sha256(found).digest() if found else b""
        start = (START + number * SPAN).isoformat().encode()
        before = sha256(before + start + contents).digest()
        assert each.digest == before


async def test_sealing_waits_for_open_transactions(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "SPAN", timedelta(milliseconds=100))
    monkeypatch.setattr(sealing, "SETTLED", timedelta(0))
    early, late = (ledger.top_up(uuid7(), WALLET, 100, NOON) for _ in range(2))
    await post(engine, ledger.top_up(uuid7(), ledger.wallet("app", "other", "CNY"), 1, NOON))
    async with engine.connect() as slow:
        await ledger.find_accounts(slow, [WALLET])  # begun, and nothing written yet
        began = datetime.now(UTC)
        await asyncio.sleep(0.3)
        await post(engine, late)
        await asyncio.sleep(0.3)
        sealed = await all_sealed(engine)
        assert sum(each.transfers for each in sealed) <= 1
        assert all(each.until <= began for each in sealed)
        await ledger.post(slow, [early])
        await slow.commit()
    await asyncio.sleep(0.3)
    sealed += await all_sealed(engine)
    assert sum(each.transfers for each in sealed) == 3
    assert await broken(engine) == []


async def test_writers_and_two_timers_at_once(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sealing, "SPAN", timedelta(milliseconds=20))
    monkeypatch.setattr(sealing, "SETTLED", timedelta(0))
    sealed: list[ledger.Seal] = []
    writing = True

    async def write(payer: str) -> None:
        for _ in range(60):
            async with engine.begin() as connection:
                await asyncio.sleep(0.005)
                transfer = ledger.top_up(uuid7(), ledger.wallet("app", payer, "CNY"), 1, NOON)
                await ledger.post(connection, [transfer])

    async def keep_sealing() -> None:
        while writing:
            sealed.extend(await seal(engine))
            await asyncio.sleep(0.001)

    timers = [asyncio.create_task(keep_sealing()) for _ in range(2)]
    await asyncio.gather(*(write(f"payer-{n}") for n in range(6)))
    writing = False
    await asyncio.gather(*timers)
    await asyncio.sleep(0.1)
    during = len(sealed)
    sealed += await all_sealed(engine)
    assert during > 5, "they have sealed while others wrote"
    assert sum(each.transfers for each in sealed) == 360
    assert await broken(engine) == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE seals SET digest = digest",
        "UPDATE seals SET transfers = 0",
        "UPDATE seals SET sealed_at = now()",
        "DELETE FROM seals",
        "INSERT INTO seals (since, until, transfers, digest, sealed_at) VALUES (now(), now(), 0, '', now())",
        "DELETE FROM sealed_sums",
        "UPDATE sealed_sums SET bucket = 1",
    ],
)
async def test_the_application_may_not_change_seals(engine: AsyncEngine, statement: str) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="permission denied"):
            await connection.execute(text(statement))


async def test_new_blocks_are_summarized_once_and_a_vacuum_is_not_waited_for(
    books: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    more = """
        INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, occurred_at)
        SELECT gen_random_uuid(), kind, debit_account, credit_account, 1, currency, occurred_at
        FROM (SELECT * FROM transfers WHERE kind = 'top_up' LIMIT 1) AS one, generate_series(1, 20000)
    """
    await execute(owner_engine, more)  # a megabyte or two
    async with books.begin() as connection:
        assert await summarize_new_blocks(connection) > 0
    async with books.begin() as connection:
        assert await summarize_new_blocks(connection) == 0
    await execute(owner_engine, more)
    async with owner_engine.begin() as vacuum, books.begin() as connection:
        await vacuum.execute(text("LOCK TABLE transfers IN SHARE UPDATE EXCLUSIVE MODE"))
        assert await summarize_new_blocks(connection) == 0
