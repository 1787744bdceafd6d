"""The cost of a payment through the PSP to a called biller, in statements and bytes of write-ahead log.

Payments are accepted in batches and recorded in batches; PSP and biller are not called. Figures depend on the code
and the tables only. Where a change is worth its price, change the figures and give the reason in the commit.
"""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.benchmark_plan import QUICK
from benchmarks.measured_city import bills_due, build, command
from chassis.database import connect_directly
from errands import ErrandRun, Institutions
from errands.dispatcher import Dispatcher
from events.payments import PspFunding
from services.billing.institutions import describe_ours
from services.billing.instruction import Instruction
from services.billing.outside.model import Call
from services.billing.payments.accept import accept
from services.billing.payments.model import Payment, Progress
from services.billing.payments.record import record
from services.billing.payments.tables import State
from tests.benchmarks.machine.test_cost import counted
from tests.support.databases import Database

PLAN = replace(QUICK, payments=2_500, history=1_000)
BATCH = 500

# Known payments, bills, limits, errands; COPY of payments and events.
ACCEPT_STATEMENTS = 6
# Calls; locks of payments and errands; the errands' end; payments; accounts and balances; COPY of transfers, receipts
# and events.
RECORD_STATEMENTS = 10
# In batches of 500, with all indexes: payment (twice), errand, three calls, three events, transfer, receipt. The
# errand is 390 of it.
WAL_BYTES = 5_065
WAL_TOLERANCE = 0.03


@pytest.fixture
async def due(database: Database) -> list[Instruction[Any]]:
    """Commands for bills of a city with a past, paid through the PSP, to billers that are called."""
    await build(database.owner_url, database.billing_url, PLAN)
    connection = await connect_directly(database.owner_url, "billing")
    try:
        await connection.execute("UPDATE billers SET settled_by = 'call'")
        due = await bills_due(connection, PLAN)
    finally:
        await connection.close()
    funding = PspFunding(payment_method="pm_card_visa")
    return [Instruction(command(each).model_copy(update={"funding": funding})) for each in due]


@pytest.fixture
def institutions() -> Institutions:
    made = Institutions()
    describe_ours(made, places=BATCH, psp_timeout_seconds=10.0, late_effect_seconds=60.0)
    return made


async def paid(
    engine: AsyncEngine, institutions: Institutions, batch: list[Instruction[Any]]
) -> None:
    async with Dispatcher(engine, institutions).booking() as booking, engine.begin() as connection:
        accepted = await accept(connection, batch, booking)
    assert len(accepted.held) == len(batch)
    results = [succeeded(each, ErrandRun(each.errand, institutions)) for each in accepted.held]
    async with engine.begin() as connection:
        assert await record(connection, results) == len(batch)
    for each in results:
        each.run.leave()


def succeeded(payment: Payment, run: ErrandRun) -> Progress:
    now = datetime.now(UTC)
    return Progress(
        payment,
        run,
        State.SUCCEEDED,
        f"pi_{payment.id.hex}",
        authorized_at=now,
        applied_at=now,
        calls=[Call(leg, "Answered", None, now, 20) for leg in ("authorize", "apply", "capture")],
    )


async def test_a_batch_costs_the_same_statements_whatever_its_size(
    engine: AsyncEngine, institutions: Institutions, due: list[Instruction[Any]]
) -> None:
    for batch in (due[:1], due[1:501]):
        with counted(engine) as statements:
            await paid(engine, institutions, batch)
        assert len(statements) == ACCEPT_STATEMENTS + RECORD_STATEMENTS, "\n".join(statements)


async def test_a_payment_writes_no_more_log_than_it_did(
    engine: AsyncEngine, institutions: Institutions, due: list[Instruction[Any]]
) -> None:
    async def written() -> int:
        async with engine.connect() as connection:
            return int(
                await connection.scalar(text("SELECT pg_current_wal_insert_lsn() - '0/0'")) or 0
            )

    costs = []
    for start in range(0, 2_500, BATCH):
        before = await written()
        await paid(engine, institutions, due[start : start + BATCH])
        costs.append((await written() - before) / BATCH)
    assert sum(costs) / len(costs) == pytest.approx(WAL_BYTES, rel=WAL_TOLERANCE), costs
