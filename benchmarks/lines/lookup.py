"""lookup: lookups through an HTTP biller that takes 20 ms to answer. lookup_one_dead: ten billers, one of them dead.

Both go through Kafka and the shipped processes. The value of lookup_one_dead is the 95th percentile of the time from
command to BillsFound at the healthy billers; the same figure without a dead biller is beside it.
"""

import asyncio
from collections.abc import Sequence
from contextlib import AsyncExitStack
from uuid import UUID

from sqlalchemy import text

from benchmarks import integrity
from benchmarks.machine.running import WORKERS, meter, relay, running, wait_for_group, workers
from benchmarks.measured_city import MeasuredCity
from benchmarks.repeat import Repeat
from benchmarks.samples import Sample, percentile
from benchmarks.stand_ins import ACCOUNTS_PER_BILLER, CALLED, look_up, open_accounts, stand_ins
from benchmarks.wallets import Wallets, encode
from benchmarks.witness import Witness
from events.topics import LOOKUP_EVENTS, LOOKUP_GROUP

DELAY_SECONDS = 0.02
BILLER = "hz-water"
TEN = CALLED[:10]
DEAD = TEN[0]
PER_SECOND = 100.0
_RATE = text("""
    SELECT count(*) AS found, extract(epoch FROM max(finished_at) - min(created_at)) AS seconds
    FROM lookups WHERE state = 'found'
""")


async def measure(repeat: Repeat) -> dict[str, Sample]:
    """Measure the rate at one biller, then the latency at ten with and without a dead one."""
    healthy, _ = await _paced(repeat, dead=False)
    hurt, complaints = await _paced(repeat, dead=True)
    facts = {"p50_ms": percentile(hurt, 50), "p99_ms": percentile(hurt, 99)}
    facts["all_healthy_p95_ms"] = percentile(healthy, 95)
    return {
        "lookup": await _rate(repeat),
        "lookup_one_dead": Sample(percentile(hurt, 95), "ms (p95)", facts, complaints),
    }


async def _rate(repeat: Repeat) -> Sample:
    async with repeat.stage.city() as city, stand_ins(repeat.stage, city) as institutions:
        institutions.inject_fault(BILLER, "delay", DELAY_SECONDS)
        accounts = await open_accounts(city, institutions, [BILLER], ACCOUNTS_PER_BILLER // 2)
        account_ids = [accounts[n % len(accounts)] for n in range(repeat.plan.lookups)]
        employed = workers(repeat.stage, city, institutions.environment)
        publisher = relay(repeat.stage, city)
        async with (
            Wallets(repeat.stage.kafka.bootstrap) as wallets,
            Witness(repeat.stage.kafka.bootstrap, [LOOKUP_EVENTS]) as witness,
            running([publisher, *employed]),
        ):
            await wait_for_group(repeat.stage, LOOKUP_GROUP, WORKERS)
            used = meter(
                repeat.stage, worker=employed, relay=[publisher], billers=[institutions.billers]
            )
            await used.start()
            await wallets.send(
                encode([look_up(each) for each in account_ids], repeat.stage.signing_key)
            )
            await witness.read(len(account_ids))
            cost = await used.cost(len(account_ids))
        complaints = await integrity.events(city.engine, [LOOKUP_EVENTS.code], witness.ids)
        async with city.engine.connect() as connection:
            row = (await connection.execute(_RATE)).one()
    if row.found != len(account_ids):
        complaints.append(f"{row.found} of {len(account_ids)} lookups found bills")
    return Sample(len(account_ids) / float(row.seconds), "lookups/s", cost, complaints)


async def _paced(repeat: Repeat, *, dead: bool) -> tuple[list[float], list[str]]:
    """Return the milliseconds from command to BillsFound of every lookup at the nine healthy billers."""
    async with AsyncExitStack() as stack:
        city = await stack.enter_async_context(repeat.stage.city())
        institutions = await stack.enter_async_context(stand_ins(repeat.stage, city))
        if dead:
            # The first fault that matches applies: a dead biller takes the call and never answers.
            institutions.inject_fault(DEAD, "timeout_before", 30.0)
        institutions.inject_fault("*", "delay", DELAY_SECONDS)
        lookups = int(PER_SECOND * repeat.plan.dead_seconds)
        accounts = await open_accounts(city, institutions, TEN, min(lookups // len(TEN), 400))
        commands = [look_up(accounts[n % len(accounts)]) for n in range(lookups)]
        healthy_ids = await _healthy(city, [each.account_id for each in commands])
        processes = [
            relay(repeat.stage, city),
            *workers(repeat.stage, city, institutions.environment),
        ]
        async with (
            Wallets(repeat.stage.kafka.bootstrap) as wallets,
            Witness(repeat.stage.kafka.bootstrap, [LOOKUP_EVENTS]) as witness,
            running(processes),
        ):
            await wait_for_group(repeat.stage, LOOKUP_GROUP, WORKERS)
            due_at, _ = await asyncio.gather(
                wallets.pace(encode(commands, repeat.stage.signing_key), PER_SECOND),
                witness.read(lookups),
            )
        complaints = await integrity.events(city.engine, [LOOKUP_EVENTS.code], witness.ids)
    healthy = [each.key for each in commands if each.account_id in healthy_ids]
    waited = [
        (witness.seen_at[key] - due_at[key]) * 1000 for key in healthy if key in witness.seen_at
    ]
    if len(waited) != len(healthy):
        complaints.append(f"{len(healthy) - len(waited)} lookups at healthy billers got no answer")
    return waited, complaints


async def _healthy(city: MeasuredCity, account_ids: Sequence[UUID]) -> set[UUID]:
    async with city.engine.connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT id FROM accounts WHERE id = ANY(CAST(:ids AS uuid[])) AND biller_id <> :dead"
            ),
            {"ids": list(set(account_ids)), "dead": DEAD},
        )
        return set(rows.scalars())
