"""transfers_<batch>_<workers>: bare transfers by ledger.post, in one or two processes with one batch per transaction.

They move money between random accounts out of ten thousand, without bills, payments, receipts or events: the figure
that ledgers without bills publish.
"""

import random
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from benchmarks.machine.crew import Job, Shift, crew, measure_shifts
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample
from events.ids import uuid7
from services.billing import ledger
from services.billing.ledger import Transfer
from services.billing.ledger.movements import pay_bill, psp_clearing

WORKERS = (1, 2)
# By batch size: more transfers than a worker can post in a second. They are built before the clock starts.
MOST_PER_SECOND = {1: 2_000, 100: 30_000, 1_000: 80_000}
ACCOUNTS_ON_EACH_SIDE = 5_000
AMOUNT_MINOR = 100

_TOTALS = text("""
    SELECT (SELECT count(*) FROM transfers) AS transfers,
        (SELECT coalesce(sum(balance_minor), 0) FROM ledger_accounts) AS all_balances_minor,
        (SELECT count(*) FROM ledger_accounts a WHERE balance_minor <>
            (SELECT coalesce(sum(amount_minor), 0) FROM transfers t WHERE t.credit_account = a.id) -
            (SELECT coalesce(sum(amount_minor), 0) FROM transfers t WHERE t.debit_account = a.id)
            AND a.address LIKE '%bench-%') AS wrong_balances
""")


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Run every batch size with every number of processes, one after the other in the same ledger."""
    seconds = repeat.plan.posting_seconds
    samples = {}
    async with repeat.stage.city() as city:
        with crew(city.billing_url, max(WORKERS), Job(_transfers, ledger.post)) as members:
            for batch, most in MOST_PER_SECOND.items():
                for workers in WORKERS:
                    before = await _totals(city.engine)
                    shifts = [Shift(range(int(most * seconds)), batch, seconds)] * workers
                    sample, posted = await measure_shifts(
                        repeat.stage, members[:workers], shifts, "transfers/s"
                    )
                    complaints = _complaints(before, await _totals(city.engine), posted)
                    samples[f"transfers_{batch}_{workers}"] = sample.with_complaints(complaints)
    return samples


def _transfers(numbers: Sequence[int]) -> list[Transfer]:
    now = datetime.now(UTC)
    return [
        pay_bill(
            uuid7(),
            psp_clearing("CNY", f"bench-{random.randrange(ACCOUNTS_ON_EACH_SIDE)}"),
            f"bench-{random.randrange(ACCOUNTS_ON_EACH_SIDE)}",
            AMOUNT_MINOR,
            now,
        )
        for _ in numbers
    ]


async def _totals(engine: AsyncEngine) -> dict[str, int]:
    async with engine.connect() as connection:
        return dict((await connection.execute(_TOTALS)).one()._asdict())


def _complaints(before: dict[str, int], after: dict[str, int], posted: int) -> list[str]:
    expected = {**before, "transfers": before["transfers"] + posted, "wrong_balances": 0}
    return [
        f"{name} is {after[name]} and should be {value}"
        for name, value in expected.items()
        if after[name] != value
    ]
