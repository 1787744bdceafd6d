"""Processes die at random while payments run: nothing is lost and nothing doubled, by the others' own books.

How many payments and kills: METERHALL_CRASH_PAYMENTS and METERHALL_CRASH_KILLS. The seed is printed, and can be given
as METERHALL_CRASH_SEED.
"""

import asyncio
import os
import random
from collections import Counter
from typing import Any
from uuid import UUID

from events.ids import uuid7
from events.payments import PayBill, PspFunding, WalletFunding
from sandbox.city import CHANNEL, City
from sandbox.demo.day import amount_for
from sandbox.demo.wallet import Wallet
from tests.end_to_end import books

PAYMENTS = int(os.environ.get("METERHALL_CRASH_PAYMENTS", "400"))
KILLS = int(os.environ.get("METERHALL_CRASH_KILLS", "6"))
SEED = int(os.environ.get("METERHALL_CRASH_SEED", "0")) or random.randrange(1, 1_000_000)
VICTIMS = ("worker", "relay", "worker", "timer", "notifications-worker")
PAUSE_SECONDS = 0.01
# Payments that a dead worker had accepted are taken up after twenty seconds.
PATIENCE_SECONDS = 240.0


async def test_nothing_is_lost_or_doubled_when_processes_are_killed(
    city: City, wallet: Wallet
) -> None:
    print(f"seed {SEED}: {PAYMENTS} payments, {KILLS} kills")
    chance = random.Random(SEED)
    payers = [f"crash-{number:03d}" for number in range(20)]
    await asyncio.gather(*(wallet.top_up(payer, 4_000_000) for payer in payers))
    bills = await _bills(city, wallet, PAYMENTS)
    killed: Counter[str] = Counter()
    # Spread over the time that sending takes.
    apart_seconds = PAYMENTS * PAUSE_SECONDS / KILLS
    sending = asyncio.create_task(_send(wallet, bills, payers))
    while sum(killed.values()) < KILLS:
        await asyncio.sleep(chance.uniform(0.3, 1.7) * apart_seconds)
        name = chance.choice(VICTIMS)
        city.processes[name].kill()
        city.processes[name].launch()
        killed[name] += 1
    ids = await sending
    await _ended(city, ids)
    await _published(city)
    states = Counter(row.state for id, row in (await books.payments(city)).items() if id in ids)
    assert states == {"succeeded": len(ids)}, states
    assert await books.disagreements(city) == []
    for schema in ("billing", "notifications"):
        assert await books.topic_disagreements(city, schema) == []
    city.command("audit")
    assert sum(killed.values()) == KILLS


async def _bills(city: City, wallet: Wallet, count: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    places = asyncio.Semaphore(32)

    async def look_up(biller: str, account: str) -> None:
        async with places:
            if len(found) < count:
                answer = await wallet.look_up(biller, account)
                found.extend(bill for bill in answer.get("bills", ()) if bill["payable"])

    url = f"{city.home.url('billers')}/sandbox/accounts?owing=true&limit=1000&biller="
    async with asyncio.TaskGroup() as group:
        for row in city.billers():
            for account in books.fetch(url + str(row["id"])):
                group.create_task(look_up(str(row["id"]), account))
    assert len(found) >= count, f"the city owes only {len(found)} bills"
    return found[:count]


async def _send(wallet: Wallet, bills: list[dict[str, Any]], payers: list[str]) -> set[UUID]:
    # Each command is sent twice, as a wallet does that never heard of the first: it must count once.
    ids: set[UUID] = set()
    for number, bill in enumerate(bills):
        funding = PspFunding(payment_method="pm_card_visa") if number % 3 else WalletFunding()
        command = PayBill(
            payment_id=uuid7(),
            channel=CHANNEL,
            payer=payers[number % len(payers)],
            bill_id=UUID(bill["id"]),
            amount_minor=amount_for(bill),
            currency=bill["currency"],
            funding=funding,
        )
        await wallet.send(command)
        if number % 5 == 0:
            await wallet.send(command)
        ids.add(command.payment_id)
        await asyncio.sleep(PAUSE_SECONDS)
    return ids


async def _ended(city: City, ids: set[UUID]) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    open_ids = ids
    while open_ids:
        known = await books.payments(city)
        city.revive()
        open_ids = {
            id
            for id in ids
            if id not in known or known[id].state in {"accepted", "authorized", "applied"}
        }
        assert asyncio.get_running_loop().time() < deadline, f"{len(open_ids)} never ended"
        await asyncio.sleep(0.5)


async def _published(city: City) -> None:
    """Wait until both relays have nothing left to publish."""
    deadline = asyncio.get_running_loop().time() + 60
    for schema in ("billing", "notifications"):
        while True:
            rows = await books.query(
                city,
                "SELECT count(*) AS left FROM outbox, outbox_cursor"
                " WHERE NOT pg_visible_in_snapshot(xid, prev)",
                schema,
            )
            if not rows[0]["left"]:
                break
            assert asyncio.get_running_loop().time() < deadline, f"{schema} still has {rows[0]}"
            await asyncio.sleep(0.2)
