"""The past of the soak: millions of bills (paid and unpaid), top-ups and transfers, written by SQL alone.

The rows are as the product writes them, and the auditor finds no violation in them. Only the receipts' numbers are
invented: their check characters are wrong.
"""

# ruff: noqa: S608 - our own constants and numbers

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

from benchmarks.measured_city import BILLERS, CHANNEL, Connection, MeasuredCity
from benchmarks.soak.past.without_indexes import without_indexes
from benchmarks.soak.sizes import (
    ACCOUNT,
    AMOUNTS,
    BILL,
    LOWEST_MINOR,
    PAYMENT,
    TOP_UP,
    Size,
    sql_id,
)
from chassis.china import ZONE_NAME
from chassis.database import connect_directly
from services.billing import ledger

Log = Callable[[str], None]

TABLES = ("accounts", "ledger_accounts", "bills", "payments", "receipts", "top_ups", "transfers")
CONNECTIONS = 2
CHUNK = 500_000
# Far above the ids of the ledger accounts that the template has.
FIRST_BILLER, FIRST_WALLET = 10_001, 100_000

_AMOUNT = f"{LOWEST_MINOR} + n % {AMOUNTS}"
_ACCOUNTS = f"""
    INSERT INTO accounts (id, biller_id, account_number)
    SELECT {sql_id(ACCOUNT, "n")}, 'biller-' || n % {BILLERS}, CAST(10000000 + n AS text)
    FROM generate_series(CAST($1 AS bigint), $2) AS n
"""
_WALLETS = f"""
    INSERT INTO ledger_accounts (id, address, currency, no_overdraft, balance_minor) OVERRIDING SYSTEM VALUE
    SELECT {FIRST_WALLET} + h, 'wallet:{CHANNEL}:household-' || h, 'CNY', true,
        ({{top_ups}} / {{households}} + CAST(h < {{top_ups}} % {{households}} AS int)) * {{top_up_minor}}
            - coalesce(spent, 0)
    FROM generate_series(0, {{households}} - 1) AS h LEFT JOIN (
        SELECT n % {{households}} AS household, sum({_AMOUNT}) AS spent
        FROM generate_series(CAST(0 AS bigint), {{paid}} - 1) AS n GROUP BY 1) AS bills ON household = h
"""
_BILLERS = f"""
    INSERT INTO ledger_accounts (id, address, currency, no_overdraft, balance_minor) OVERRIDING SYSTEM VALUE
    SELECT {FIRST_BILLER} + b, 'biller:biller-' || b || ':payable', 'CNY', false, coalesce(owed, 0)
    FROM generate_series(0, {BILLERS} - 1) AS b LEFT JOIN (
        SELECT n % {{households}} % {BILLERS} AS biller, sum({_AMOUNT}) AS owed
        FROM generate_series(CAST(0 AS bigint), {{paid}} - 1) AS n GROUP BY 1) AS bills ON biller = b
"""
_CLEARING = """
    UPDATE ledger_accounts SET balance_minor = balance_minor - CAST({top_ups} AS bigint) * {top_up_minor}
    WHERE address = 'psp:stripe:clearing'
"""
_NEXT_ID = "SELECT setval(pg_get_serial_sequence('ledger_accounts', 'id'), (SELECT max(id) FROM ledger_accounts))"

# Per table, for one chunk of rows: numbers from $1 to $2.
_BILLS = f"""
    INSERT INTO bills (id, account_id, bill_number, period, amount_minor, currency, rule, expires_at)
    SELECT {sql_id(BILL, "n")}, {sql_id(ACCOUNT, "n % {households}")}, 'B' || n, '2026-10', {_AMOUNT}, 'CNY', 'exact',
        now() + interval '30 days'
    FROM generate_series(CAST($1 AS bigint), $2) AS n
"""
_PAYMENTS = f"""
    INSERT INTO payments (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency, funding,
        request_hash, state, captured_minor, version, created_at, finished_at)
    SELECT {sql_id(PAYMENT, "n")}, '{CHANNEL}', 'household-' || n % {{households}}, {sql_id(BILL, "n")},
        'biller-' || n % {{households}} % {BILLERS}, {sql_id(ACCOUNT, "n % {households}")}, {_AMOUNT}, 'CNY', 'wallet',
        uuid_send({sql_id(PAYMENT, "n")}), 'succeeded', {_AMOUNT}, 1, {{paid_at}}, {{paid_at}}
    FROM generate_series(CAST($1 AS bigint), $2) AS n
"""
_RECEIPTS = f"""
    INSERT INTO receipts (number, payment_id, biller_id, account_id, bill_number, period, amount_minor, currency,
        issued_at)
    SELECT to_char({{paid_at}} AT TIME ZONE '{ZONE_NAME}', 'YYYYMMDD')
            || upper(substr(md5(CAST(n AS text)), 1, 16)), {sql_id(PAYMENT, "n")},
        'biller-' || n % {{households}} % {BILLERS}, {sql_id(ACCOUNT, "n % {households}")}, 'B' || n, '2026-10',
        {_AMOUNT}, 'CNY', {{paid_at}}
    FROM generate_series(CAST($1 AS bigint), $2) AS n
"""
_PAID = f"""
    INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, occurred_at, created_at)
    SELECT {sql_id(PAYMENT, "n")}, 'pay_bill', {FIRST_WALLET} + n % {{households}},
        {FIRST_BILLER} + n % {{households}} % {BILLERS}, {_AMOUNT}, 'CNY', {{paid_at}}, {{paid_at}}
    FROM generate_series(CAST($1 AS bigint), $2) AS n
"""
_TOP_UPS = f"""
    INSERT INTO top_ups (id, transfer_id, channel_id, payer, amount_minor, currency, payment_method, request_hash,
        state, version, created_at, finished_at)
    SELECT {sql_id(TOP_UP, "n")}, {sql_id(TOP_UP, "n")}, '{CHANNEL}', 'household-' || n % {{households}},
        {{top_up_minor}}, 'CNY', 'pm_card_visa', uuid_send({sql_id(TOP_UP, "n")}), 'succeeded', 1,
        {{topped_up_at}}, {{topped_up_at}}
    FROM generate_series(CAST($1 AS bigint), $2) AS n
"""
_TOPPED_UP = f"""
    INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, occurred_at, created_at)
    SELECT {sql_id(TOP_UP, "n")}, 'top_up', (SELECT id FROM ledger_accounts WHERE address = 'psp:stripe:clearing'),
        {FIRST_WALLET} + n % {{households}}, {{top_up_minor}}, 'CNY', {{topped_up_at}}, {{topped_up_at}}
    FROM generate_series(CAST($1 AS bigint), $2) AS n
"""

Job = tuple[str, int, int]


async def make_past(city: MeasuredCity, size: Size, log: Log) -> None:
    """Fill the tables of a fresh city; afterwards it has the same indexes and constraints as before."""
    owner = await connect_directly(city.owner_url, "billing")
    try:
        now = datetime.now(UTC)
        async with without_indexes(
            owner, TABLES, lambda statements: _run_all(city, statements, log)
        ):
            for statement in (_WALLETS, _BILLERS, _CLEARING, _NEXT_ID):
                await owner.execute(_sized(statement, size, now))
            await _fill(city, size, now, log)
        # Now, so that autovacuum has no work from the loading left during the measurement.
        await _run_all(city, [f"VACUUM (FREEZE, ANALYZE) {table}" for table in TABLES], log)
    finally:
        await owner.close()


async def seal_past(city: MeasuredCity, log: Log) -> None:
    """Seal the past minutes, as the timer would have done it all along."""
    seals = transfers = logged = 0
    while True:
        async with city.engine.begin() as connection:
            sealed = await ledger.seal(connection)
        seals += len(sealed)
        transfers += sum(each.transfers for each in sealed)
        if not sealed or seals >= logged + 5_000:
            log(f"the past: {seals:,} seals over {transfers:,} transfers")
            logged = seals
        if not sealed:
            return


async def _fill(city: MeasuredCity, size: Size, now: datetime, log: Log) -> None:
    jobs = _jobs(size)
    rows = {statement: last + 1 for statement, _, last in jobs}
    total, done, logged = sum(rows.values()), 0, 0
    waiting = deque(jobs)

    async def work(connection: Connection) -> None:
        nonlocal done, logged
        while waiting:
            statement, first, last = waiting.popleft()
            await connection.execute(_sized(statement, size, now), first, last)
            done += last - first + 1
            if done * 20 // total > logged:
                logged = done * 20 // total
                log(f"the past: {done:,} of {total:,} rows")

    async with _connections(city) as connections:
        await asyncio.gather(*(work(each) for each in connections))


def _jobs(size: Size) -> list[Job]:
    """Return chunks of all tables, in the order in which the product would have written them."""
    rows = {
        _ACCOUNTS: size.households,
        _TOP_UPS: size.top_ups,
        _TOPPED_UP: size.top_ups,
        _PAYMENTS: size.paid,
        _PAID: size.paid,
        _RECEIPTS: size.paid,
        _BILLS: size.bills,
    }
    jobs = [
        (first / count, (statement, first, min(first + CHUNK, count) - 1))
        for statement, count in rows.items()
        for first in range(0, count, CHUNK)
    ]
    return [job for _, job in sorted(jobs, key=lambda each: each[0])]


def _sized(statement: str, size: Size, now: datetime) -> str:
    # All statements compute the same time: a payment is finished when its receipt is issued.
    def at(count: int) -> str:
        step = size.past_days * 86_400_000_000 // max(1, count)
        began = (now - timedelta(days=size.past_days)).isoformat()
        return f"(CAST('{began}' AS timestamptz) + n * interval '{step} microseconds')"

    return statement.format(
        households=size.households,
        paid=size.paid,
        top_ups=size.top_ups,
        top_up_minor=size.top_up_minor,
        paid_at=at(size.paid),
        topped_up_at=at(size.top_ups),
    )


async def _run_all(city: MeasuredCity, statements: Sequence[str], log: Log) -> None:
    """Run the statements, as many concurrently as there are connections."""
    waiting = deque(statements)

    async def work(connection: Connection) -> None:
        while waiting:
            statement = waiting.popleft()
            await connection.execute(statement)
            log(f"the past: {statement.partition(' ON ')[0]}")

    async with _connections(city) as connections:
        await asyncio.gather(*(work(each) for each in connections))


@asynccontextmanager
async def _connections(city: MeasuredCity) -> AsyncIterator[list[Connection]]:
    opened: list[Connection] = []
    try:
        for _ in range(CONNECTIONS):
            opened.append(await connect_directly(city.owner_url, "billing"))
            await opened[-1].execute("SET maintenance_work_mem = '1GB'")
        yield opened
    finally:
        for each in opened:
            each.terminate()
