"""Reading the outbox: nothing twice, nothing lost, a key's rows in order, whatever commits when."""

import asyncio
import random
from collections import defaultdict
from collections.abc import AsyncIterator

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events.topics import PAYMENT_EVENTS
from messaging.outbox import enqueue
from messaging.relay import windows
from messaging.relay.lead import connect_relay
from messaging.relay.windows import OutboxPage, Position, Reader
from tests.messaging.witness import message
from tests.messaging.writers import Writers
from tests.support.databases import Database

NOTHING = Position("1:1:", None, 0)


@pytest.fixture
async def connection(database: Database) -> "AsyncIterator[asyncpg.Connection]":
    made = await connect_relay(database.billing_url, "billing")
    yield made
    await made.close()


async def read_on(reader: Reader) -> list[OutboxPage]:
    """Page after page until one is empty."""
    pages = []
    while (page := await reader.read()).rows:
        pages.append(page)
    return pages


async def write(engine: AsyncEngine, key: str, count: int, first: int = 1) -> None:
    async with engine.begin() as open_:
        await enqueue(
            open_, [message(PAYMENT_EVENTS, key, first + number) for number in range(count)]
        )


async def test_what_commits_late_comes_late_and_is_not_lost(
    engine: AsyncEngine, connection: "asyncpg.Connection"
) -> None:
    reader = Reader(connection, NOTHING)
    async with engine.connect() as slow:
        await enqueue(slow, [message(PAYMENT_EVENTS, "slow", 1)])
        await write(engine, "quick", 1)
        first = (await reader.read()).rows
        await slow.commit()
    second = (await reader.read()).rows

    assert [row["key"] for row in first] == ["quick"]
    assert [row["key"] for row in second] == ["slow"]
    assert second[0]["id"] < first[0]["id"], "a cursor that remembers the last id loses this one"


async def test_a_position_continues_where_it_was(
    engine: AsyncEngine, connection: "asyncpg.Connection"
) -> None:
    await write(engine, "k", 4500)
    first = await Reader(connection, NOTHING).read()
    await write(engine, "later", 10)
    rest = await read_on(Reader(connection, first.end))

    assert len(first.rows) == windows.PAGE_ROWS
    assert [len(page.rows) for page in rest] == [2000, 500, 10]
    ids = [row["id"] for page in (first, *rest) for row in page.rows]
    assert ids == sorted(set(ids))


async def test_a_large_window_is_walked_without_losing_a_row(
    engine: AsyncEngine, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "SMALL_WINDOW_ROWS", 3000)
    for number in range(20):
        await write(engine, f"k{number}", 500)
        if number % 3 == 0:  # leaves gaps in the ids
            async with engine.connect() as undone:
                await enqueue(undone, [message(PAYMENT_EVENTS, "undone", 1)] * 700)
                await undone.rollback()
    pages = await read_on(Reader(connection, NOTHING))

    rows = [row for page in pages for row in page.rows]
    assert len(rows) == len({row["event_id"] for row in rows}) == 10_000
    assert [row["id"] for row in rows] == sorted(row["id"] for row in rows)


async def test_a_page_is_bounded_by_bytes(
    engine: AsyncEngine, connection: "asyncpg.Connection"
) -> None:
    async with engine.begin() as open_:
        await enqueue(
            open_,
            [message(PAYMENT_EVENTS, "k", n, b"x" * 900_000) for n in range(1, 21)],
        )
    pages = await read_on(Reader(connection, NOTHING))

    assert [len(page.rows) for page in pages] == [9, 9, 2]
    assert [row["sequence"] for page in pages for row in page.rows] == list(range(1, 21))


async def test_concurrent_writers_keep_their_order(
    database: Database,
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    connection: "asyncpg.Connection",
) -> None:
    writers = Writers(engine, PAYMENT_EVENTS, keys=12)
    await writers.prepare(owner_engine)
    reader = Reader(connection, NOTHING)
    found: dict[str, list[int]] = defaultdict(list)
    writing = asyncio.create_task(writers.write(tasks=10, transactions=400))
    last_id, overtaken = 0, 0
    while True:
        ended = writing.done()
        rows = (await reader.read()).rows
        for row in rows:
            found[row["key"]].append(row["sequence"])
            overtaken += row["id"] < last_id
            last_id = max(last_id, row["id"])
        if ended and not rows:
            break
        await asyncio.sleep(random.uniform(0, 0.01))
    await writing

    written = await writers.written()
    assert found == {key: list(range(1, count + 1)) for key, count in written.items() if count}
    assert overtaken, "no transaction committed after a later id: the test shows nothing"
