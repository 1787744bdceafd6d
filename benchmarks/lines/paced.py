"""paced_25|50|75: commands at a share of the drain's rate; how long from a command to its receipt.

The clock of a payment starts when its command was to be sent, whether or not the sender was late, and stops when the
witness has the payment's ReceiptIssued from Kafka; the other events are read after that. The first two seconds, in
which fresh processes open connections and plan their statements, are left out of the latencies. The value is the rate
that was reached.
"""

import asyncio
import statistics
import time

from benchmarks import integrity
from benchmarks.city import bills_due, command
from benchmarks.direct import connect_directly
from benchmarks.results import Sample
from benchmarks.run import Run
from benchmarks.running import WORKERS, meter, relay, running, settled, workers
from benchmarks.wallet import Wallets, encode
from benchmarks.witness import Witness
from events.topics import PAYMENT_EVENTS, PAYMENT_GROUP, RECEIPT_EVENTS

SHARES = (25, 50, 75)
WARM_UP_SECONDS = 2.0


async def measure(run: Run) -> dict[str, Sample]:
    """Each share of this repeat's drain."""
    return {f"paced_{share}": await _measure(run, run.drained * share / 100) for share in SHARES}


async def _measure(run: Run, per_second: float) -> Sample:
    stage = run.stage
    async with stage.city() as city:
        connection = await connect_directly(city.owner_url)
        due = await bills_due(connection, run.plan)
        await connection.close()
        payments = min(len(due), int(per_second * run.plan.paced_seconds))
        records = encode([command(each) for each in due[:payments]])
        employed, publisher = workers(stage, city), relay(stage, city)
        async with (
            Wallets(stage.kafka.bootstrap) as wallets,
            Witness(stage.kafka.bootstrap, [RECEIPT_EVENTS]) as witness,
            Witness(stage.kafka.bootstrap, [PAYMENT_EVENTS]) as others,
            running([publisher, *employed]),
        ):
            await settled(stage, PAYMENT_GROUP, WORKERS)
            used = meter(stage, worker=employed, relay=[publisher])
            await used.start()
            began = time.time()
            asked_at, _ = await asyncio.gather(
                wallets.pace(records, per_second), witness.read(payments)
            )
            cost = await used.cost(payments)
            await others.read(payments)
        complaints = await integrity.books(city.engine, run.plan.history + payments)
        told = [RECEIPT_EVENTS.code, PAYMENT_EVENTS.code]
        complaints += await integrity.events(city.engine, told, witness.ids + others.ids)
    warm = min(asked_at.values()) + WARM_UP_SECONDS
    waited = [
        (at - asked_at[key]) * 1000 for key, at in witness.seen_at.items() if asked_at[key] >= warm
    ]
    facts = {**cost, "p50_ms": percentile(waited, 50), "p99_ms": percentile(waited, 99)}
    return Sample(payments / (witness.last_at - began), "payments/s", facts, complaints)


def percentile(values: list[float], which: int) -> float:
    """The value below which so many per cent lie."""
    return statistics.quantiles(values, n=100, method="inclusive")[which - 1]
