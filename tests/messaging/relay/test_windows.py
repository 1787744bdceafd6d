"""Reading the outbox: no row is lost or repeated and a key's rows are in order, in whatever order they commit."""

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

START = Position("1:1:", None, 0)


@pytest.fixture
async def connection(database: Database) -> "AsyncIterator[asyncpg.Connection]":
    connection = await connect_relay(database.billing_url, "billing")
    yield connection
    await connection.close()


async def read_all_pages(reader: Reader) -> list[OutboxPage]:
    """Read page after page until one is empty."""
    pages = []
    while (page := await reader.read()).rows:
        pages.append(page)
    return pages


async def enqueue_messages(engine: AsyncEngine, key: str, count: int, first: int = 1) -> None:
    async with engine.begin() as open_:
        await enqueue(
            open_, [message(PAYMENT_EVENTS, key, first + number) for number in range(count)]
        )


async def test_a_row_that_commits_late_is_not_lost(
    engine: AsyncEngine, connection: "asyncpg.Connection"
) -> None:
    reader = Reader(connection, START)
    async with engine.connect() as slow:
        await enqueue(slow, [message(PAYMENT_EVENTS, "slow", 1)])
        await enqueue_messages(engine, "quick", 1)
        first = (await reader.read()).rows
        await slow.commit()
    second = (await reader.read()).rows

    assert [row["key"] for row in first] == ["quick"]
    assert [row["key"] for row in second] == ["slow"]
    assert second[0]["id"] < first[0]["id"], "a cursor of the last id would lose this row"


async def test_reading_continues_from_a_stored_position(
    engine: AsyncEngine, connection: "asyncpg.Connection"
) -> None:
    await enqueue_messages(engine, "k", 4500)
    first = await Reader(connection, START).read()
    await enqueue_messages(engine, "later", 10)
    rest = await read_all_pages(Reader(connection, first.end))

    assert len(first.rows) == windows.PAGE_ROWS
    assert [len(page.rows) for page in rest] == [2000, 500, 10]
    ids = [row["id"] for page in (first, *rest) for row in page.rows]
    assert ids == sorted(set(ids))


async def test_a_large_window_is_walked_without_losing_a_row(
    engine: AsyncEngine, connection: "asyncpg.Connection", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "SMALL_WINDOW_ROWS", 3000)
    for number in range(20):
        await enqueue_messages(engine, f"k{number}", 500)
        if number % 3 == 0:  # a rollback leaves gaps in the ids
            async with engine.connect() as undone:
                await enqueue(undone, [message(PAYMENT_EVENTS, "undone", 1)] * 700)
                await undone.rollback()
    pages = await read_all_pages(Reader(connection, START))

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
    pages = await read_all_pages(Reader(connection, START))

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
    reader = Reader(connection, START)
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
    assert overtaken, "no transaction committed after a later id, so the test proves nothing"
