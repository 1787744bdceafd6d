"""drain: the rate at which the shipped processes work off a backlog of commands in Kafka.

They are two workers and the relay; the workers are suspended while the backlog is written. The clock runs from the
transaction of the first payment (its created_at) until Kafka has acknowledged all events, as the ends of its partitions
show, polled every 50 ms. By then every payment is stored, posted to the ledger and receipted, and both its
events are published. Only then does the witness read all events back, for the integrity check.
"""

from sqlalchemy import text

from benchmarks import integrity
from benchmarks.machine.running import (
    WORKERS,
    meter,
    relay,
    running,
    suspended,
    wait_for_group,
    workers,
)
from benchmarks.measured_city import MeasuredCity, command
from benchmarks.repeat import Repeat
from benchmarks.rows import dump
from benchmarks.samples import Sample
from benchmarks.wallets import Wallets, encode
from benchmarks.witness import Witness
from events.topics import PAYMENT_EVENTS, PAYMENT_GROUP, RECEIPT_EVENTS

EVENTS = (PAYMENT_EVENTS, RECEIPT_EVENTS)
_FIRST = text("""
    SELECT extract(epoch FROM min(created_at)) FROM (
        SELECT created_at FROM payments ORDER BY created_at DESC LIMIT :payments) AS of_the_drain
""")

_STORED = text("""
    SELECT CAST(coalesce(sum(bytes) FILTER (WHERE relname NOT LIKE 'outbox%'), 0) AS float8) AS kept_bytes,
        CAST(coalesce(sum(bytes) FILTER (WHERE relname LIKE 'outbox%'), 0) AS float8) AS outbox_bytes
    FROM (
        SELECT relname, pg_total_relation_size(oid) AS bytes FROM pg_class
        WHERE relnamespace = CAST('billing' AS regnamespace) AND relkind = 'r'
        AND (relname IN ('payments', 'transfers', 'receipts') OR relname LIKE 'outbox\\_p%')
    ) AS sizes
""")


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Drain one backlog, and dump its rows for the ceiling."""
    stage, payments = repeat.stage, repeat.plan.payments
    async with stage.city() as city:
        stored = await _stored_bytes(city)
        due = await city.due(repeat.plan)
        records = encode([command(each) for each in due], stage.signing_key)
        employed, publisher = workers(stage, city), relay(stage, city)
        async with (
            Wallets(stage.kafka.bootstrap) as wallets,
            Witness(stage.kafka.bootstrap, EVENTS) as witness,
            running([publisher, *employed]),
        ):
            await wait_for_group(stage, PAYMENT_GROUP, WORKERS)
            with suspended(employed):
                await wallets.send(records)
                used = meter(stage, worker=employed, relay=[publisher])
                await used.start()
            await witness.wait(
                2 * payments, lambda n: repeat.advance("drain: events", n, 2 * payments)
            )
            cost = await used.cost(payments)
            await witness.read(2 * payments)
        async with city.engine.connect() as connection:
            first = float(await connection.scalar(_FIRST, {"payments": payments}) or 0)
        grown = {
            name: (size - stored[name]) / payments
            for name, size in (await _stored_bytes(city)).items()
        }
        complaints = await integrity.books(city.engine, repeat.plan.history + payments)
        complaints += await integrity.events(city.engine, [t.code for t in EVENTS], witness.ids)
        await dump(city, repeat.rows)
    repeat.drained = payments / (witness.last_at - first)
    return {"drain": Sample(repeat.drained, "payments/s", {**cost, **grown}, complaints)}


async def _stored_bytes(city: MeasuredCity) -> dict[str, float]:
    # Tables with all of their indexes. Events are kept for a week, the rest for years, so they are counted apart.
    async with city.engine.connect() as connection:
        return dict((await connection.execute(_STORED)).one()._asdict())
