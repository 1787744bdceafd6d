"""The city under measurement: billers that settle by file, accounts, bills, wallets with money, and past payments.

Bill n is of account n, at biller n modulo their number; household n modulo the households pays it. So each household
has one bill to pay now, as when many people pay within seconds; all of them share the billers.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.benchmark_plan import BenchmarkPlan
from chassis.database import connect_directly
from errands import Booking, Institutions
from events.ids import uuid7
from events.payments import PayBill, WalletFunding
from services.billing.database import connect
from services.billing.instruction import Instruction
from services.billing.payments.accept import accept

Connection: TypeAlias = "asyncpg.Connection[Any]"

CHANNEL = "bench-wallet"
SIGNING_KEY_ID = "be9c0001"
BILLERS = 500
BATCH = 1_000
WALLET_MINOR = 10_000_000


class Due(NamedTuple):
    """A bill that can be paid."""

    bill_id: UUID
    payer: str
    amount_minor: int


_BUILD = f"""
INSERT INTO channels (id, name, max_payment_minor) VALUES ('{CHANNEL}', 'The wallet of the benchmarks', 5000000);
INSERT INTO signing_keys (id, channel_id) VALUES ('{SIGNING_KEY_ID}', '{CHANNEL}');
INSERT INTO billers (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
        account_number_hint_zh, account_number_hint_en)
    SELECT 'biller-' || n, '水务', 'Water', 'CNY', 'file', '{{"dialect": "file"}}', '^[0-9]{{8}}$', '8 位', '8 digits'
        FROM generate_series(0, {BILLERS - 1}) AS n;
INSERT INTO accounts (id, biller_id, account_number)
    SELECT uuidv7(), 'biller-' || n % {BILLERS}, lpad(CAST(n AS text), 8, '0')
    FROM generate_series(0, $bills - 1) AS n;
INSERT INTO bills (id, account_id, bill_number, period, amount_minor, currency, rule, expires_at)
    SELECT uuidv7(), id, 'B' || account_number, '2026-10', 1000 + CAST(account_number AS int) % 20000, 'CNY', 'exact',
        now() + interval '30 days' FROM accounts;
INSERT INTO ledger_accounts (address, currency, no_overdraft)
    SELECT 'wallet:{CHANNEL}:payer-' || n, 'CNY', true FROM generate_series(0, $payers - 1) AS n;
INSERT INTO ledger_accounts (address, currency, no_overdraft) VALUES ('psp:stripe:clearing', 'CNY', false);
INSERT INTO top_ups (id, transfer_id, channel_id, payer, amount_minor, currency, payment_method, request_hash, state,
        version, finished_at)
    SELECT uuidv7(), uuidv7(), '{CHANNEL}', 'payer-' || n, {WALLET_MINOR}, 'CNY', 'pm_card_visa', '\\x00', 'succeeded',
        1, now()
    FROM generate_series(0, $payers - 1) AS n;
INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, occurred_at)
    SELECT t.transfer_id, 'top_up', p.id, w.id, t.amount_minor, 'CNY', now() FROM top_ups t
    JOIN ledger_accounts w ON w.address = 'wallet:{CHANNEL}:' || t.payer
    JOIN ledger_accounts p ON p.address = 'psp:stripe:clearing';
UPDATE ledger_accounts SET balance_minor = CASE WHEN no_overdraft THEN {WALLET_MINOR}
    ELSE -CAST({WALLET_MINOR} AS bigint) * $payers END;
ANALYZE
"""  # noqa: S608 - our own constants


@dataclass(frozen=True, slots=True)
class MeasuredCity:
    """The database of one measurement: its URLs, and an engine of billing."""

    name: str
    owner_url: str
    billing_url: str
    engine: AsyncEngine

    async def due(self, plan: BenchmarkPlan) -> list[Due]:
        """Return the unpaid bills in the order of bills_due()."""
        connection = await connect_directly(self.owner_url, "billing")
        try:
            return await bills_due(connection, plan)
        finally:
            await connection.close()


async def build(owner_url: str, billing_url: str, plan: BenchmarkPlan) -> None:
    """Create the city in a migrated, empty database and pay its past bills."""
    owner = await connect_directly(owner_url, "billing")
    try:
        for statement in _BUILD.split(";\n"):
            sized = statement.replace("$bills", str(plan.bills)).replace(
                "$payers", str(plan.payers)
            )
            await owner.execute(sized)
        past = await bills_due(owner, plan, past=True)
        engine = connect(billing_url)
        for start in range(0, len(past), BATCH):
            async with engine.begin() as connection:
                batch = [Instruction(command(each)) for each in past[start : start + BATCH]]
                await accept(connection, batch, Booking(Institutions()))
        await engine.dispose()
        # The events of the past count as published.
        await owner.execute("TRUNCATE outbox")
        await owner.execute("VACUUM (FREEZE, ANALYZE)")
    finally:
        await owner.close()


async def bills_due(
    connection: Connection, plan: BenchmarkPlan, *, past: bool = False
) -> list[Due]:
    """Return the unpaid bills in the order in which they will be paid: random, but the same in every run.

    `past`: the bills that are paid while the city is built.
    """
    first, last = (0, plan.history) if past else (plan.history, plan.bills)
    rows: Sequence[Any] = await connection.fetch(
        """
        SELECT b.id, CAST(a.account_number AS int) AS number, b.amount_minor
        FROM bills b JOIN accounts a ON a.id = b.account_id
        WHERE CAST(a.account_number AS int) >= $1 AND CAST(a.account_number AS int) < $2
        ORDER BY a.account_number
        """,
        first,
        last,
    )
    due = [
        Due(row["id"], f"payer-{row['number'] % plan.payers}", row["amount_minor"]) for row in rows
    ]
    random.Random(1).shuffle(due)
    return due


def command(due: Due) -> PayBill:
    """Return a command that pays this bill from its household's wallet."""
    return PayBill(
        payment_id=uuid7(),
        channel=CHANNEL,
        payer=due.payer,
        bill_id=due.bill_id,
        amount_minor=due.amount_minor,
        currency="CNY",
        funding=WalletFunding(),
    )
