"""The cost of an accepted payment, in figures that hold still: statements per batch and bytes of write-ahead log.

A rate depends on the machine and its neighbours; these two only on the code and the tables, so a change that makes
payments dearer fails here. Where it is worth it, change the figures and say why in the commit.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.city import RESUME_AFTER, bills_due, build, command
from benchmarks.direct import connect_directly
from benchmarks.plan import QUICK
from services.billing.payments import Instruction
from services.billing.payments.accept import accept
from tests.support.databases import Database

PLAN = replace(QUICK, payments=2_500, history=1_000)
BATCH = 500

# Limits, known payments, bills, wallets; payments, receipts, outbox; lock wallets, payables, transfers, lock and move.
STATEMENTS = 12
# Payment, transfer, receipt, two events, and two balances in batches of 500, with all of their indexes.
WAL_BYTES = 2_885
TOLERANCE = 0.03


@contextmanager
def counted(engine: AsyncEngine) -> Iterator[list[str]]:
    """The statements that are executed meanwhile."""
    said: list[str] = []

    def note(_: Any, __: Any, statement: str, *___: Any) -> None:
        said.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    try:
        yield said
    finally:
        event.remove(engine.sync_engine, "before_cursor_execute", note)


@pytest.fixture
async def due(database: Database) -> list[Instruction[Any]]:
    """Commands for bills of a city with a past, paid from wallets, to billers that settle by file."""
    await build(database.owner_url, database.billing_url, PLAN)
    connection = await connect_directly(database.owner_url)
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
                accepted = await accept(connection, batch, RESUME_AFTER)
        assert accepted.open == []  # all of it was finished in this transaction
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
            await accept(connection, due[start : start + BATCH], RESUME_AFTER)
        costs.append((await written() - before) / BATCH)
    # Pages split now and then, so it is the mean that holds still: within one per cent from run to run.
    assert sum(costs) / len(costs) == pytest.approx(WAL_BYTES, rel=TOLERANCE), costs
