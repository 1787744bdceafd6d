"""Answers are recorded in sets: the later answer counts, a bill keeps its id, and nothing is recorded twice."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing.bills.accounts import find_or_open_accounts
from services.billing.bills.connectors import (
    BillerBill,
    BillerDown,
    Found,
    NoSuchAccount,
    NothingOwed,
)
from services.billing.bills.connectors.protocol import LookupAnswer
from services.billing.bills.record import Answered, Lookup, record_lookups
from services.billing.bills.validate import MOST_BILLS, fault_of_list, faults_of
from services.billing.catalog import import_catalogue
from tests.services.billing.catalog.rows import biller, good

BILLER = "hz-water"
T0 = datetime(2026, 11, 25, 8, tzinfo=UTC)


def bill(number: str = "B1", amount_minor: int = 100, **different: Any) -> BillerBill:
    made = BillerBill(number, "2026-11", amount_minor, "CNY", "exact", T0 + timedelta(days=30))
    return replace(made, **different)


@pytest.fixture
async def account(engine: AsyncEngine) -> UUID:
    async with engine.begin() as connection:
        await import_catalogue(connection, good(biller()))
        key = (BILLER, "1234567890")
        return (await find_or_open_accounts(connection, [key]))[key]


async def pending(engine: AsyncEngine, account: UUID) -> Lookup:
    id = uuid7()
    async with engine.begin() as connection:
        await connection.execute(
            text("""INSERT INTO lookups (id, channel_id, account_id, state)
                VALUES (:id, 'app', :account, 'pending')"""),
            {"id": id, "account": account},
        )
    return Lookup(id, "app", account, "1234567890", BILLER, "CNY", True, False, True, 0, None)


async def record(engine: AsyncEngine, *answered: Answered) -> int:
    async with engine.begin() as connection:
        return await record_lookups(connection, answered)


async def answer(
    engine: AsyncEngine, account: UUID, said: LookupAnswer, seconds: int = 0
) -> Answered:
    """An answer to a fresh lookup that was asked this long after T0."""
    return Answered(await pending(engine, account), T0 + timedelta(seconds=seconds), said)


async def open_bills(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT bill_number, amount_minor FROM bills WHERE closed_at IS NULL")
        )
        return {row.bill_number: row.amount_minor for row in rows}


async def states(engine: AsyncEngine, ids: Sequence[UUID]) -> list[str]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT id, state FROM lookups WHERE id = ANY(CAST(:ids AS uuid[]))"),
            {"ids": list(ids)},
        )
        found = {row.id: row.state for row in rows}
        return [found[id] for id in ids]


async def test_two_lookups_of_one_account_in_one_batch(engine: AsyncEngine, account: UUID) -> None:
    older = await answer(engine, account, Found([bill("B1", 100), bill("B2", 200)]), 1)
    newer = await answer(engine, account, Found([bill("B1", 90)]), 2)
    assert await record(engine, newer, older) == 2
    assert await open_bills(engine) == {"B1": 90}
    async with engine.connect() as connection:
        found = await connection.execute(text("SELECT id, cardinality(bill_ids) FROM lookups"))
        assert dict(found.tuples().all()) == {older.lookup.id: 2, newer.lookup.id: 1}


async def test_a_late_answer_does_not_undo_a_later_one(engine: AsyncEngine, account: UUID) -> None:
    await record(engine, await answer(engine, account, Found([bill("B1", 100)]), 1))
    await record(engine, await answer(engine, account, Found([bill("B1", 60)]), 9))
    late = await answer(engine, account, Found([bill("B1", 100)]), 5)
    assert await record(engine, late) == 1
    assert await open_bills(engine) == {"B1": 60}
    gone = await answer(engine, account, NothingOwed(), 6)
    await record(engine, gone)
    assert await open_bills(engine) == {"B1": 60}, "what was stated at 9 is not closed by 6"
    assert await states(engine, [late.lookup.id, gone.lookup.id]) == ["found", "nothing_owed"]
    paid_elsewhere = await answer(engine, account, Found([bill("B1", 60), bill("B2", 5)]), 7)
    await record(engine, paid_elsewhere)
    assert await open_bills(engine) == {"B1": 60}, "what the answer of 9 did not list stays closed"


async def test_bills_close_and_open_again_under_the_same_id(
    engine: AsyncEngine, account: UUID
) -> None:
    async def ids() -> dict[str, UUID]:
        async with engine.connect() as connection:
            rows = await connection.execute(text("SELECT bill_number, id FROM bills"))
            return dict(rows.tuples().all())

    await record(engine, await answer(engine, account, Found([bill("B1"), bill("B2")]), 1))
    first = await ids()
    await record(engine, await answer(engine, account, NoSuchAccount(), 2))
    assert await open_bills(engine) == {}
    await record(engine, await answer(engine, account, BillerDown("x"), 3))
    await record(engine, await answer(engine, account, Found([bill("B2", 300)]), 4))
    assert await open_bills(engine) == {"B2": 300}
    assert await ids() == first


async def test_an_answer_is_recorded_once(engine: AsyncEngine, account: UUID) -> None:
    first = await answer(engine, account, Found([bill()]), 1)
    second = replace(first, answer=NothingOwed(), asked_at=T0 + timedelta(seconds=3))
    done = await asyncio.gather(record(engine, first), record(engine, second))
    assert sorted(done) == [0, 1]
    assert await record(engine, first, second) == 0
    async with engine.connect() as connection:
        events = await connection.scalar(text("SELECT count(*) FROM outbox"))
        version = await connection.scalar(text("SELECT version FROM lookups"))
    assert (events, version) == (1, 1)


async def test_what_answered_for_a_biller_by_file_closes_nothing(
    engine: AsyncEngine, account: UUID
) -> None:
    await record(engine, await answer(engine, account, Found([bill("B1"), bill("B2")]), 1))
    requested = await answer(engine, account, Found([bill("B1")]), 2)
    by_file = replace(requested, lookup=replace(requested.lookup, by_file=True))
    await record(engine, by_file)
    assert await open_bills(engine) == {"B1": 100, "B2": 100}
    async with engine.connect() as connection:
        found = await connection.scalar(
            text("SELECT cardinality(bill_ids) FROM lookups WHERE id = :id"),
            {"id": requested.lookup.id},
        )
    assert found == 1


async def test_many_writers_over_the_same_accounts_neither_lock_up_nor_lose(
    engine: AsyncEngine,
) -> None:
    """Shuffled batches over six accounts, bills coming and going: the last answers count, and nobody had to retry."""
    async with engine.begin() as connection:
        await import_catalogue(connection, good(biller()))
        keys = [(BILLER, f"100000000{n}") for n in range(6)]
        accounts = list((await find_or_open_accounts(connection, keys)).values())
    chance = random.Random(5)
    batches = []
    for number in range(24):
        batch = []
        for position, account in enumerate(chance.sample(accounts, len(accounts))):
            bills = [bill(f"B{n}", number + 1) for n in chance.sample(range(8), 4)]
            batch.append(await answer(engine, account, Found(bills), number * 10 + position))
        batches.append(batch)
    final = [
        await answer(engine, each, Found([bill("B0", 7), bill("B9", 7)]), 999) for each in accounts
    ]
    waiting = [record(engine, *batch) for batch in batches]
    chance.shuffle(waiting)
    for start in range(0, len(waiting), 8):
        assert await asyncio.gather(*waiting[start : start + 8]) == [6] * 8
    assert await record(engine, *final) == 6
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""SELECT account_id, array_agg(bill_number || amount_minor ORDER BY bill_number) AS open
                FROM bills WHERE closed_at IS NULL GROUP BY account_id""")
        )
        assert {row.account_id: row.open for row in rows} == {
            each: ["B07", "B97"] for each in accounts
        }


async def test_accounts_are_opened_once_whoever_asks_beside(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await import_catalogue(connection, good(biller()))
    keys = [(BILLER, f"20000000{n:02d}") for n in range(40)]

    async def ask(chance: random.Random) -> dict[tuple[str, str], UUID]:
        async with engine.begin() as connection:
            wanted = chance.sample(keys, len(keys))
            return await find_or_open_accounts(connection, [*wanted, *wanted[:5]])

    found = await asyncio.gather(*(ask(random.Random(n)) for n in range(8)))
    assert all(each == found[0] for each in found)
    assert set(found[0]) == set(keys) and len(set(found[0].values())) == 40
    async with engine.begin() as connection:
        assert await find_or_open_accounts(connection, []) == {}


@pytest.mark.parametrize(
    ("different", "field"),
    [
        ({"bill_number": ""}, "bill_number"),
        ({"bill_number": "x" * 65}, "bill_number"),
        ({"bill_number": "B\x00"}, "bill_number"),
        ({"period": "x" * 65}, "period"),
        ({"currency": "USD"}, "currency"),
        ({"rule": "whatever"}, "rule"),
        ({"amount_minor": -1}, "amount_minor"),
        ({"amount_minor": 2**53}, "amount_minor"),
        ({"min_minor": -5}, "min_minor"),
        ({"multiple_minor": 0}, "multiple_minor"),
        ({"rule": "range", "min_minor": 5}, "rule"),
        ({"rule": "range", "min_minor": 9, "max_minor": 5}, "min_minor"),
        ({"expires_at": datetime(2026, 11, 25)}, "expires_at"),  # noqa: DTZ001 - that is what is wrong
    ],
)
def test_an_invalid_bill_is_not_stored(different: dict[str, Any], field: str) -> None:
    assert list(faults_of(bill(), "CNY")) == []
    assert [name for name, _ in faults_of(bill(**different), "CNY")] == [field]
    assert fault_of_list([bill("B0"), bill(**different)], "CNY")


def test_an_invalid_list_of_bills_is_not_stored() -> None:
    many = [bill(f"B{n}") for n in range(MOST_BILLS + 1)]
    assert fault_of_list(many[:-1], "CNY") is None
    assert fault_of_list(many, "CNY") == f"more than {MOST_BILLS} bills"
    assert fault_of_list([bill(), bill()], "CNY") == "a bill number stands there twice"
