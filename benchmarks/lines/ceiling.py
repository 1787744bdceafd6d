"""ceiling: COPY of the very rows that the drain wrote, encoded beforehand, by as many connections as there are workers.

Same tables, indexes and constraints; no decisions, no balances, no Kafka. Nothing on this PostgreSQL can be faster.
"""

from sqlalchemy import text

from benchmarks import integrity
from benchmarks.machine.running import WORKERS
from benchmarks.repeat import Repeat
from benchmarks.rows import load
from benchmarks.samples import Sample

_EVENTS = text("SELECT count(*) FROM outbox")

_COUNTS = text("""
    SELECT (SELECT count(*) FROM payments) AS payments, (SELECT count(*) FROM receipts) AS receipts,
        (SELECT count(*) FROM transfers WHERE kind = 'pay_bill') AS transfers, (SELECT count(*) FROM outbox) AS events
""")


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Write the rows of this repeat's drain again."""
    async with repeat.stage.city() as city:
        seconds = await load(city, repeat.rows, WORKERS)
        found = await integrity.count(city.engine)
        async with city.engine.connect() as connection:
            found["events"] = int(await connection.scalar(_EVENTS) or 0)
    payments = repeat.plan.payments
    expected = dict.fromkeys(integrity.OF_EACH_PAYMENT, repeat.plan.history + payments)
    complaints = integrity.differences(found, {**expected, "events": 2 * payments})
    return {"ceiling": Sample(payments / seconds, "payments/s", {}, complaints)}
