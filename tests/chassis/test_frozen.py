"""The locks of a process that is stopped inside a transaction are released, and the process works on when continued."""

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

# Locks a row and stops itself. When continued, it prints whether its error was transient, and `done` when the repeated
# work succeeds.
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
# The bound of a transaction, the interval of the others' looks, and some time for a slow machine.
MOST_SECONDS = 20.0

INSERT = "INSERT INTO channels (id, name, max_payment_minor) VALUES ('app', 'An app', 1)"

Start = Callable[[str], subprocess.Popen[str]]


@pytest.fixture
async def start(database: Database, owner_engine: AsyncEngine) -> AsyncIterator[Start]:
    """A function that starts a process which stops at the given place of its transaction."""
    async with owner_engine.begin() as connection:
        await connection.execute(text(INSERT))
    started: list[subprocess.Popen[str]] = []

    def start_one(where: str) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-c", PROGRAM, database.owner_url, where],
                stdout=subprocess.PIPE,
                text=True,
                preexec_fn=with_parent(signal.SIGKILL),
            )
        )
        return started[-1]

    yield start_one
    for process in started:
        process.kill()
        process.wait()


@pytest.mark.parametrize("where", ["between", "copy", "result"])
async def test_the_locks_of_a_stopped_process_are_released_within_the_bound(
    owner_engine: AsyncEngine, start: Start, where: str
) -> None:
    """Between two statements, in the middle of a COPY, and with a result that it does not read."""
    process = start(where)
    assert process.stdout is not None
    assert await asyncio.to_thread(process.stdout.readline) == "locked\n"
    began = time.monotonic()
    async with ending_frozen_sessions(owner_engine):
        await update_with_retries(owner_engine)
    assert time.monotonic() - began < MOST_SECONDS

    process.send_signal(signal.SIGCONT)
    output = await asyncio.to_thread(process.stdout.read)
    assert output.split() == ["transient", "locked", "done"]
    async with owner_engine.connect() as connection:
        rows = await connection.execute(text("SELECT id FROM channels ORDER BY id"))
        assert list(rows.scalars()) == ["app", "one", "two"]


async def update_with_retries(engine: AsyncEngine) -> None:
    """Change the row as a consumer does: retry while the error is transient."""
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
async def test_a_transaction_beyond_its_bound_fails_transiently_and_the_engine_works_on(
    database: Database, monkeypatch: pytest.MonkeyPatch, newest_without: int
) -> None:
    """In a statement and while idle; also where PostgreSQL has no transaction_timeout."""
    monkeypatch.setattr(databases, "_NEWEST_WITHOUT", newest_without)
    engine = connect(database.billing_url, "billing", pool_size=1, transaction_seconds=0.6)
    try:
        with pytest.raises(DBAPIError) as working:
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_sleep(5)"))
        assert is_transient(working.value)
        await assert_engine_works(engine)

        with pytest.raises(DBAPIError) as idle:
            async with engine.begin() as connection:
                await connection.execute(text("SELECT 1"))
                await asyncio.sleep(1.2)
                await connection.execute(text("SELECT 1"))
        assert is_transient(idle.value)
        await assert_engine_works(engine)
    finally:
        await engine.dispose()


async def assert_engine_works(engine: AsyncEngine) -> None:
    for _ in range(3):
        async with engine.begin() as connection:
            assert await connection.scalar(text("SELECT 1")) == 1


async def test_a_longer_bound_can_be_set_but_idle_transactions_stay_bounded(
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
    """Return the bounds of a transaction, of a statement, and of the idle time between statements."""
    names = ("transaction_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    async with engine.connect() as connection:
        return tuple([str(await connection.scalar(text(f"SHOW {name}"))) for name in names])
