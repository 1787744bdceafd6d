"""ceiling: COPY of the rows that the drain wrote, encoded beforehand, by as many connections as there are workers.

The tables, indexes and constraints are the same; there are no decisions, no balances and no Kafka. Nothing that stores
these rows in this PostgreSQL can be faster.
"""

from sqlalchemy import text

from benchmarks import integrity
from benchmarks.machine.running import WORKERS
from benchmarks.repeat import Repeat
from benchmarks.rows import load
from benchmarks.samples import Sample

_EVENTS = text("SELECT count(*) FROM outbox")


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Write the rows of this repeat's drain once more."""
    async with repeat.stage.city() as city:
        seconds = await load(city, repeat.rows, WORKERS)
        counts = await integrity.count(city.engine)
        async with city.engine.connect() as connection:
            counts["events"] = int(await connection.scalar(_EVENTS) or 0)
    payments = repeat.plan.payments
    expected = dict.fromkeys(integrity.OF_EACH_PAYMENT, repeat.plan.history + payments)
    complaints = integrity.differences(counts, {**expected, "events": 2 * payments})
    return {"ceiling": Sample(payments / seconds, "payments/s", {}, complaints)}
