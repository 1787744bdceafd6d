"""A process that is stopped inside a transaction lets go of its locks, wherever in it it stopped, and survives that."""

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis import database as databases
from chassis.database import TRANSACTION_SECONDS, connect
from chassis.frozen import ending_frozen_sessions
from messaging.consumer.broker import SESSION_SECONDS
from messaging.transient import is_transient
from sandbox.local.children import with_parent
from tests.support.databases import Database

# It locks a row and stops itself; what it says afterwards is whether the trouble passes, and whether it does the work
# again with success.
PROGRAM = """
import asyncio, os, signal, sys
from sqlalchemy import text
from chassis.database import connect, copy
from messaging.transient import is_transient
url, where = sys.argv[1:]

def stop():
    os.kill(os.getpid(), signal.SIGSTOP)

class Rows(list):
    def __iter__(self):
        for number, row in enumerate(super().__iter__()):
            if number == 1 and where == "copy":
                stop()
            yield row

async def work(connection):
    global where
    await connection.execute(text("UPDATE channels SET name = 'child' WHERE id = 'app'"))
    print("locked", flush=True)
    rows = Rows([("one", "1", 1), ("two", "2", 2)])
    if where == "copy":
        await copy(connection, "channels", ("id", "name", "max_payment_minor"), rows)
        return
    if where == "between":
        stop()
    if where == "result":
        big = "SELECT repeat('x', 1000) FROM generate_series(1, 100000)"
        asyncio.get_running_loop().call_later(0.02, stop)
        await connection.execute(text(big))
    await copy(connection, "channels", ("id", "name", "max_payment_minor"), rows)

async def main():
    global where
    engine = connect(url, "billing", pool_size=1)
    try:
        async with engine.begin() as connection:
            await work(connection)
    except Exception as error:
        print("transient" if is_transient(error) else repr(error), flush=True)
    where = ""
    async with engine.begin() as connection:
        await work(connection)
    print("done", flush=True)

asyncio.run(main())
"""
# The bound, how often the others look, and how slow a busy machine is.
MOST_SECONDS = 20.0

INSERT = "INSERT INTO channels (id, name, max_payment_minor) VALUES ('app', 'An app', 1)"

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
async def start(database: Database, owner_engine: AsyncEngine) -> AsyncIterator[Start]:
    """Starts a process that will stop at some place of its transaction."""
    async with owner_engine.begin() as connection:
        await connection.execute(text(INSERT))
    made: list[subprocess.Popen[str]] = []

    def start_one(where: str) -> subprocess.Popen[str]:
        made.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, database.owner_url, where],
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=with_parent(signal.SIGKILL),
            )
        )
        return made[-1]

    yield start_one
    for process in made:
        process.kill()
        process.wait()


@pytest.mark.parametrize("where", ["between", "copy", "result"])
async def test_a_process_that_stops_holds_nobody_up_for_longer_than_the_bound(
    owner_engine: AsyncEngine, start: Start, where: str
) -> None:
    """Between two statements, in the middle of a COPY, and with a result that it does not read."""
    process = start(where)
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "locked\n"
    began = time.monotonic()
    async with ending_frozen_sessions(owner_engine):
        await update_in_the_end(owner_engine)
    assert time.monotonic() - began < MOST_SECONDS

    process.send_signal(signal.SIGCONT)
    said = await asyncio.to_thread(process.stdout.read)
    assert said.split() == ["transient", "locked", "done"]
    async with owner_engine.connect() as connection:
        rows = await connection.execute(text("SELECT id FROM channels ORDER BY id"))
        assert list(rows.scalars()) == ["app", "one", "two"]


async def update_in_the_end(engine: AsyncEngine) -> None:
    """Change the row as a consumer does: again, as long as the trouble passes."""
    while True:
        try:
            async with engine.begin() as connection:
                await connection.execute(text("UPDATE channels SET name = 'test' WHERE id = 'app'"))
        except DBAPIError as error:
            assert is_transient(error)
        else:
            return


def test_a_transaction_is_over_before_kafka_gives_the_partitions_to_others() -> None:
    assert TRANSACTION_SECONDS < SESSION_SECONDS


@pytest.mark.parametrize("newest_without", [0, 99], ids=["transaction_timeout", "without"])
async def test_a_transaction_that_is_too_long_passes_and_the_engine_goes_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, newest_without: int
) -> None:
    """Also where PostgreSQL knows no transaction_timeout: at a statement, and at nothing."""
    monkeypatch.setattr(databases, "_NEWEST_WITHOUT", newest_without)
    engine = connect(database.billing_url, "billing", pool_size=1, transaction_seconds=0.6)
    try:
        with pytest.raises(DBAPIError) as working:
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_sleep(5)"))
        assert is_transient(working.value)
        await nothing_is_wrong(engine)

        with pytest.raises(DBAPIError) as idle:
            async with engine.begin() as connection:
                await connection.execute(text("SELECT 1"))
                await asyncio.sleep(1.2)
                await connection.execute(text("SELECT 1"))
        assert is_transient(idle.value)
        await nothing_is_wrong(engine)
    finally:
        await engine.dispose()


async def nothing_is_wrong(engine: AsyncEngine) -> None:
    for _ in range(3):
        async with engine.begin() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1


async def test_work_of_minutes_has_a_bound_of_its_own_and_none_may_be_idle(
    database: Database,
) -> None:
    engine = connect(database.billing_url, "billing", transaction_seconds=1_800)
    unbounded = connect(database.billing_url, "billing", transaction_seconds=None)
    try:
        assert await bounds(engine) == ("30min", "0", "8s")
        assert await bounds(unbounded) == ("0", "0", "8s")
    finally:
        await engine.dispose()
        await unbounded.dispose()


async def bounds(engine: AsyncEngine) -> tuple[str, ...]:
    """Of a transaction, of a statement, and of being idle between statements."""
    names = ("transaction_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    async with engine.connect() as connection:
        return tuple([str(await connection.scalar(text(f"SHOW {name}"))) for name in names])
