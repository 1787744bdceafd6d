"""paced_25|50|75: latency from command to receipt at a share (in per cent) of the drain's rate.

The clock of a payment starts when its command was due to be sent, even if the sender was late, and stops when the
witness has read the payment's ReceiptIssued; the other events are read afterwards. Latencies leave out the first two
seconds of each pace (or the first half of a short one), in which new processes open connections and plan their
statements. The value is the rate that was reached.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence

from benchmarks import integrity
from benchmarks.machine.running import WORKERS, meter, relay, running, wait_for_group, workers
from benchmarks.machine.stage import Stage
from benchmarks.measured_city import Due, command
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample, percentile
from benchmarks.wallets import Wallets, encode
from benchmarks.witness import Witness
from events.topics import PAYMENT_EVENTS, PAYMENT_GROUP, RECEIPT_EVENTS
from sandbox.local.local_process import LocalProcess

SHARES = (25, 50, 75)
WARM_UP_SECONDS = 2.0
EVENTS = (PAYMENT_EVENTS, RECEIPT_EVENTS)


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Run each share of this repeat's drain rate, one after the other in the same city."""
    stage = repeat.stage
    samples = {}
    async with stage.city() as city:
        due = await city.due(repeat.plan)
        processes = {"worker": workers(stage, city), "relay": [relay(stage, city)]}
        async with (
            Wallets(stage.kafka.bootstrap) as wallets,
            running([each for group in processes.values() for each in group]),
        ):
            await wait_for_group(stage, PAYMENT_GROUP, WORKERS)
            rates = {share: repeat.drained * share / 100 for share in SHARES}
            seconds = min(repeat.plan.paced_seconds, len(due) / sum(rates.values()))
            paid = 0
            ids: list[bytes] = []
            for share, per_second in rates.items():
                bills = due[paid : paid + int(per_second * seconds)]
                paid += len(bills)
                sample, read = await _pace(stage, processes, wallets, bills, per_second)
                ids += read
                complaints = await integrity.counts(city.engine, repeat.plan.history + paid)
                complaints += await integrity.events(city.engine, [t.code for t in EVENTS], ids)
                samples[f"paced_{share}"] = sample.with_complaints(complaints)
        violations = await integrity.audit(city.engine)
    return {id: sample.with_complaints(violations) for id, sample in samples.items()}


async def _pace(
    stage: Stage,
    processes: Mapping[str, Sequence[LocalProcess]],
    wallets: Wallets,
    due: Sequence[Due],
    per_second: float,
) -> tuple[Sample, list[bytes]]:
    """Run one share; return its sample and the ids of all events that it caused."""
    records = encode([command(each) for each in due], stage.signing_key)
    async with (
        Witness(stage.kafka.bootstrap, [RECEIPT_EVENTS]) as witness,
        Witness(stage.kafka.bootstrap, [PAYMENT_EVENTS]) as others,
    ):
        used = meter(stage, **processes)
        await used.start()
        began = time.time()
        due_at, _ = await asyncio.gather(wallets.pace(records, per_second), witness.read(len(due)))
        cost = await used.cost(len(due))
        await others.read(len(due))
    warm = min(due_at.values()) + min(WARM_UP_SECONDS, len(due) / per_second / 2)
    waited = [
        (at - due_at[key]) * 1000 for key, at in witness.seen_at.items() if due_at[key] >= warm
    ]
    facts = {**cost, "p50_ms": percentile(waited, 50), "p99_ms": percentile(waited, 99)}
    rate = len(due) / (witness.last_at - began)
    return Sample(rate, "payments/s", facts), witness.ids + others.ids
