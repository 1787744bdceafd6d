"""Processes are killed at random while payments run: the institutions' books prove that none is lost or doubled.

METERHALL_CRASH_PAYMENTS and METERHALL_CRASH_KILLS set the numbers. The seed is printed, and METERHALL_CRASH_SEED
repeats it.
"""

import asyncio
import os
import random
from collections import Counter
from typing import Any
from uuid import UUID

from sandbox.demo.wallet_app import WalletApp
from sandbox.local_city import LocalCity
from tests.end_to_end import city_books
from tests.end_to_end.load.traffic import ended, evenly, owed_bills, pay_bill, published

PAYMENTS = int(os.environ.get("METERHALL_CRASH_PAYMENTS", "400"))
KILLS = int(os.environ.get("METERHALL_CRASH_KILLS", "6"))
SEED = int(os.environ.get("METERHALL_CRASH_SEED", "0")) or random.randrange(1, 1_000_000)
VICTIMS = ("worker", "relay", "worker", "timer", "notifications-worker")
PAUSE_SECONDS = 0.01
# Other processes take over the payments of a dead worker after twenty seconds.
PATIENCE_SECONDS = 240.0


async def test_nothing_is_lost_or_doubled_when_processes_are_killed(
    city: LocalCity, wallet: WalletApp
) -> None:
    print(f"seed {SEED}: {PAYMENTS} payments, {KILLS} kills")
    chance = random.Random(SEED)
    payers = [f"crash-{number:03d}" for number in range(20)]
    # A third of the bills is paid from the wallets; this is twice their sum, even in a city with high bills.
    for _ in range(2):
        await asyncio.gather(*(wallet.top_up(payer, 4_000_000) for payer in payers))
    owed = await owed_bills(city, wallet, evenly(city, PAYMENTS))
    bills = [bill for turn in zip(*owed.values(), strict=True) for bill in turn][:PAYMENTS]
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
    assert not await ended(city, ids, PATIENCE_SECONDS)
    await published(city)
    states = Counter(
        row.state for id, row in (await city_books.payments(city)).items() if id in ids
    )
    assert states == {"succeeded": len(ids)}, states
    assert await city_books.disagreements(city) == []
    for schema in ("billing", "notifications"):
        assert await city_books.topic_disagreements(city, schema) == []
    city.command("audit")
    assert sum(killed.values()) == KILLS


async def _send(wallet: WalletApp, bills: list[dict[str, Any]], payers: list[str]) -> set[UUID]:
    # Every fifth command is sent twice, as by a wallet that got no response: it must count once.
    ids: set[UUID] = set()
    for number, bill in enumerate(bills):
        method = "pm_card_visa" if number % 3 else None
        command = pay_bill(bill, payers[number % len(payers)], method)
        await wallet.send(command)
        if number % 5 == 0:
            await wallet.send(command)
        ids.add(command.payment_id)
        await asyncio.sleep(PAUSE_SECONDS)
    return ids
