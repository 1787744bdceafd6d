"""ceiling: COPY of the very rows that the drain wrote, encoded beforehand, by as many connections as there are workers.

Same tables, indexes and constraints; no decisions, no balances, no Kafka. Nothing on this PostgreSQL can be faster.
"""

from sqlalchemy import text

from benchmarks.results import Sample
from benchmarks.rows import load
from benchmarks.run import Run
from benchmarks.running import WORKERS

_COUNTS = text("""
    SELECT (SELECT count(*) FROM payments) AS payments, (SELECT count(*) FROM receipts) AS receipts,
        (SELECT count(*) FROM transfers WHERE kind = 'pay_bill') AS transfers, (SELECT count(*) FROM outbox) AS events
""")


async def measure(run: Run) -> dict[str, Sample]:
    """Write the rows of this repeat's drain again."""
    async with run.stage.city() as city:
        seconds = await load(city, run.rows, WORKERS)
        async with city.engine.connect() as connection:
            found = (await connection.execute(_COUNTS)).one()
    payments = run.plan.payments
    expected = dict.fromkeys(("payments", "receipts", "transfers"), run.plan.history + payments)
    expected["events"] = 2 * payments
    complaints = [
        f"{getattr(found, name)} {name} instead of {count}"
        for name, count in expected.items()
        if getattr(found, name) != count
    ]
    return {"ceiling": Sample(payments / seconds, "payments/s", {}, complaints)}
