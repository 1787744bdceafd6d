"""The cost of an accepted payment, in figures that hold still: statements, bytes of write-ahead log, processor time.

A rate depends on the machine and its neighbours. Statements and bytes depend on the code and the tables only, and
processor time is measured in yardsticks: work of the same kind that is measured beside it. So a change that makes
payments more expensive fails here. Where it is worth it, change the figures and give the reason in the commit.
"""

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.benchmark_plan import QUICK
from benchmarks.measured_city import bills_due, build, command
from chassis.database import connect_directly
from errands import Booking, Institutions
from services.billing.instruction import Instruction
from services.billing.payments.accept import accept
from tests.support.databases import Database

PLAN = replace(QUICK, payments=2_500, history=1_000)
BATCH = 500

# Limits, known payments, bills, wallets, payables, balances; COPY of payments, receipts, events and transfers.
STATEMENTS = 9
# Payment, transfer, receipt, two events, and two balances in batches of 500, with all of their indexes.
WAL_BYTES = 2_575
WAL_TOLERANCE = 0.03
# A payment's processor time, in thousandths of the yardstick's. Caches and memory are shared with whatever else runs,
# so only a quarter more differs from noise.
WORKER = 3.6
POSTGRES = 4.1
CPU_TOLERANCE = 0.25
WORDS = {f"word-{n}": [n, str(n), None] for n in range(20)}
YARDSTICK = text("SELECT sum(hashint8(n)) FROM (SELECT generate_series(1, 300000) AS n) AS numbers")


@contextmanager
def counted(engine: AsyncEngine) -> Iterator[list[str]]:
    """The statements that are executed meanwhile, each COPY among them."""
    statements: list[str] = []
    copy = asyncpg.Connection.copy_records_to_table

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        statements.append(statement)

    async def note_copy(self: Any, table: str, **rest: Any) -> str:
        statements.append(f"COPY {table}")
        return str(await copy(self, table, **rest))

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(asyncpg.Connection, "copy_records_to_table", note_copy)
        yield statements
    event.remove(engine.sync_engine, "before_cursor_execute", note)


@pytest.fixture
async def due(database: Database) -> list[Instruction[Any]]:
    """Commands for bills of a city with a past, paid from wallets, to billers that settle by file."""
    await build(database.owner_url, database.billing_url, PLAN)
    connection = await connect_directly(database.owner_url, "billing")
    try:
        return [Instruction(command(each)) for each in await bills_due(connection, PLAN)]
    finally:
        await connection.close()


async def test_a_batch_costs_the_same_statements_whatever_its_size(
    engine: AsyncEngine, due: list[Instruction[Any]]
) -> None:
    for batch in (due[:1], due[1:501]):
        with counted(engine) as statements:
            async with engine.begin() as connection:
                accepted = await accept(connection, batch, Booking(Institutions()))
        assert accepted.held == []  # all of it was finished in this transaction
        assert len(statements) == STATEMENTS, "\n".join(statements)


async def test_a_payment_writes_no_more_log_than_it_did(
    engine: AsyncEngine, due: list[Instruction[Any]]
) -> None:
    async def written() -> int:
        async with engine.connect() as connection:
            return int(
                await connection.scalar(text("SELECT pg_current_wal_insert_lsn() - '0/0'")) or 0
            )

    costs = []
    for start in range(0, 2_500, BATCH):
        before = await written()
        async with engine.begin() as connection:
            await accept(connection, due[start : start + BATCH], Booking(Institutions()))
        costs.append((await written() - before) / BATCH)
    # Pages split now and then, so it is the mean that holds still: within one per cent from run to run.
    assert sum(costs) / len(costs) == pytest.approx(WAL_BYTES, rel=WAL_TOLERANCE), costs


@pytest.mark.skipif(sys.platform != "linux", reason="what a server process used is read from /proc")
@pytest.mark.alone
async def test_a_payment_takes_no_more_processor_time_than_it_did(
    engine: AsyncEngine, due: list[Instruction[Any]]
) -> None:
    worker, postgres = [], []
    async with engine.connect() as connection:
        pid = int(await connection.scalar(text("SELECT pg_backend_pid()")) or 0)
        await connection.rollback()
        for start in range(0, 2_500, BATCH):
            here, there = time.process_time(), backend_seconds(pid)
            async with connection.begin():
                await accept(connection, due[start : start + BATCH], Booking(Institutions()))
            cost = time.process_time() - here, backend_seconds(pid) - there
            # Each batch has a yardstick beside it: what slows one down slows the other down as well.
            here = time.process_time()
            for _ in range(1_000):
                json.loads(json.dumps(WORDS))
            yardstick = time.process_time() - here
            there = backend_seconds(pid)
            await connection.execute(YARDSTICK)
            await connection.rollback()
            worker.append(1_000 * cost[0] / BATCH / yardstick)
            postgres.append(1_000 * cost[1] / BATCH / (backend_seconds(pid) - there))
    # The first batches fill caches, here and there.
    assert min(worker) < WORKER * (1 + CPU_TOLERANCE), worker
    assert min(postgres) < POSTGRES * (1 + CPU_TOLERANCE), postgres


def backend_seconds(pid: int) -> float:
    """Return the processor time that a session has used."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9
