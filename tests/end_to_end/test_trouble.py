"""Every fault at every call, while PostgreSQL is killed, Kafka killed and stopped, and processes frozen.

After the last fault, every payment, refund and top-up ends within minutes, and the institutions' own books agree with
ours. METERHALL_TROUBLE_PAYMENTS, METERHALL_TROUBLE_KILLS (of PostgreSQL) and METERHALL_TROUBLE_FREEZES set the
numbers; METERHALL_TROUBLE_SEED repeats a run.
"""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic

import pytest

from sandbox.demo.wallet_app import WalletApp
from sandbox.home import Home
from sandbox.local.ports import NotReadyError
from sandbox.local_city import CHANNEL, LocalCity
from tests.end_to_end import city_books
from tests.end_to_end.load.traffic import evenly, owed_bills, published
from tests.end_to_end.trouble import fault_plan
from tests.end_to_end.trouble.disruption import Disruption
from tests.end_to_end.trouble.orders import (
    PAYERS,
    PaymentOrder,
    Sent,
    make_orders,
    send_payments,
    send_refunds,
    send_top_ups,
)

PAYMENTS = int(os.environ.get("METERHALL_TROUBLE_PAYMENTS", "300"))
KILLS = int(os.environ.get("METERHALL_TROUBLE_KILLS", "5"))
FREEZES = int(os.environ.get("METERHALL_TROUBLE_FREEZES", "3"))
SEED = int(os.environ.get("METERHALL_TROUBLE_SEED", "0")) or random.randrange(1, 1_000_000)
# Everything has ended this long after the last fault.
SETTLE_SECONDS = float(os.environ.get("METERHALL_TROUBLE_SETTLE_SECONDS", "300"))
# A fault that has not fired this long after the last payment was sent will not fire.
FIRE_SECONDS = 90.0
PAUSE_SECONDS = 2.5
# The length of one disruption, with the pause before it.
DISRUPTION_SECONDS = 6.0
_OPEN = """
    SELECT o.kind, o.id, o.state, e.leg || ' at ' || e.institution AS leg, o.payment_method FROM (
        SELECT 'payment' AS kind, id, state, payment_method FROM payments
        WHERE state IN ('accepted', 'authorized', 'applied')
        UNION ALL
        SELECT 'refund', r.id, r.state, p.payment_method
        FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE r.state IN ('accepted', 'unapplied')
        UNION ALL
        SELECT 'top_up', id, state, payment_method FROM top_ups WHERE state = 'accepted') o
    LEFT JOIN errands e ON e.kind = o.kind AND e.subject = o.id
"""
_KNOWN = "SELECT id FROM payments UNION ALL SELECT id FROM refunds UNION ALL SELECT id FROM top_ups"


@pytest.fixture
def troubled_city(tmp_path: Path) -> Iterator[LocalCity]:
    """A city for this test alone, with shorter time-outs than in production."""
    with (
        Home(tmp_path) as home,
        LocalCity(home, seed=SEED, settings=fault_plan.SETTINGS) as started,
    ):
        yield started


@pytest.fixture
async def troubled_wallet(troubled_city: LocalCity) -> AsyncIterator[WalletApp]:
    """The wallet app of that city's channel."""
    secrets = troubled_city.home.secrets
    async with WalletApp(troubled_city.environment, secrets, CHANNEL) as app:
        yield app


@pytest.mark.timeout(3_600)
async def test_faults_at_every_call_while_servers_die_and_processes_freeze(
    troubled_city: LocalCity, troubled_wallet: WalletApp
) -> None:
    city, wallet = troubled_city, troubled_wallet
    print(f"seed {SEED}: {PAYMENTS} payments, {KILLS} kills, {FREEZES} freezes")
    chance = random.Random(SEED)
    disruption, sent = Disruption(city, chance), Sent()
    await asyncio.gather(*(wallet.top_up(payer, 4_000_000) for payer in PAYERS))
    orders = make_orders(await owed_bills(city, wallet, evenly(city, PAYMENTS)), chance)
    fault_plan.install(city)
    began = monotonic()
    await _send_and_disrupt(disruption, wallet, orders, sent, chance)
    not_fired = await _not_fired(city)
    fired = fault_plan.fired(city)
    fault_plan.clear(city)
    cleared = monotonic()
    left_open = await _left_open(city, sent)
    ended = monotonic()
    print(f"trouble for {cleared - began:.0f} s, all ended {ended - cleared:.0f} s after it")
    print(f"disruptions {dict(disruption.counts)}; faults {dict(sorted(fired.items()))}")
    failures = [f"the fault {name} has not fired" for name in sorted(not_fired)]
    failures += left_open + await _failed(city, sent) + await _disagreements(city)
    assert not failures, "\n".join(failures)
    assert disruption.counts["kill_postgres"] == KILLS
    assert disruption.counts["kill_kafka"] == disruption.counts["stop_kafka"] == 1
    assert (
        disruption.counts["freeze_process"] + disruption.counts["freeze_in_transaction"] == FREEZES
    )
    assert disruption.counts["froze inside a transaction"] >= min(FREEZES, 1)


async def _send_and_disrupt(
    disruption: Disruption,
    wallet: WalletApp,
    orders: list[PaymentOrder],
    sent: Sent,
    chance: random.Random,
) -> None:
    events = ["kill_postgres"] * KILLS + ["kill_kafka", "stop_kafka"]
    inside = -(-FREEZES // 3)
    events += ["freeze_in_transaction"] * inside + ["freeze_process"] * (FREEZES - inside)
    chance.shuffle(events)
    apart_seconds = len(events) * DISRUPTION_SECONDS / len(orders)
    async with asyncio.TaskGroup() as group:
        group.create_task(disruption.run(events, PAUSE_SECONDS))
        group.create_task(send_payments(wallet, orders, sent, apart_seconds))
        group.create_task(send_top_ups(wallet, sent, apart_seconds))
        group.create_task(send_refunds(wallet, len(orders), sent))


async def _not_fired(city: LocalCity) -> set[str]:
    """Wait for the planned faults, most of which fire at a retry; return those that have not fired."""
    deadline = monotonic() + FIRE_SECONDS
    while True:
        city.revive()
        missing = fault_plan.planned() - set(fault_plan.fired(city))
        if not missing or monotonic() > deadline:
            return missing
        await asyncio.sleep(0.5)


async def _left_open(city: LocalCity, sent: Sent) -> list[str]:
    """Return the payments, refunds and top-ups that have not ended in time, or were never accepted."""
    deadline = monotonic() + SETTLE_SECONDS
    ids = {*sent.payments, *sent.refunds, *sent.top_ups}
    while True:
        city.revive()
        unknown = ids - {row["id"] for row in await city_books.query(city, _KNOWN)}
        rows = await city_books.query(city, _OPEN)
        if not (unknown or rows) or monotonic() > deadline:
            lost = [f"{id} was sent and is not in the database" for id in unknown]
            return lost + [f"still open: {dict(row)}" for row in rows]
        await asyncio.sleep(0.5)


async def _failed(city: LocalCity, sent: Sent) -> list[str]:
    """Return the payments that failed although no institution refused them."""
    known = await city_books.payments(city)
    failed = [
        f"{id} is {known[id].state}, paid by {order.payment_method}"
        for id, order in sent.payments.items()
        if not order.may_fail
        and id in known
        and known[id].state in {"rejected", "declined", "voided"}
    ]
    # A refused query counts as a refused apply, so as many payments may fail as queries are refused by the plan.
    return failed if len(failed) > fault_plan.QUERIES else []


async def _disagreements(city: LocalCity) -> list[str]:
    await published(city)
    differences = await city_books.disagreements(city)
    for schema in ("billing", "notifications"):
        differences += await city_books.topic_disagreements(city, schema)
    try:
        city.command("audit")
    except NotReadyError as error:
        differences.append(str(error))
    return differences
