"""An even load of payments and lookups, during which one biller of ten hangs for a while.

All payments are paid from wallets: a third to the biller that hangs, a third to healthy billers that are called, and a
third to billers by file. A payment's clock starts when its command is due, even if the sender is late.
"""

import asyncio
import os
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import chain, cycle, islice
from math import ceil
from typing import Any
from uuid import UUID

from benchmarks.wallets import Wallets, encode
from events.bills import LookUpBills
from events.ids import uuid7
from events.message import Event
from events.payments import PayBill
from sandbox.billers.biller_list import BILLERS
from sandbox.demo.day import amount_for
from sandbox.demo.wallet_app import MOST_OPEN, WalletApp
from sandbox.local_city import CHANNEL, LocalCity
from tests.end_to_end import city_books
from tests.end_to_end.load.traffic import OwedBill, owed_bills, pay_bill

DARK_SECONDS = float(os.environ.get("METERHALL_BLACK_HOLE_SECONDS", "20"))
RATE = float(os.environ.get("METERHALL_BLACK_HOLE_RATE", "60"))
LOOKUP_RATE = 30.0
# New processes open connections and plan their statements; after that the latency without the outage is measured.
WARM_UP_SECONDS, BEFORE_SECONDS = 6.0, 10.0
SECONDS = WARM_UP_SECONDS + BEFORE_SECONDS + DARK_SECONDS
CALLED = [each.id for each in BILLERS if each.settled_by == "call"][:10]
BY_FILE = [each.id for each in BILLERS if each.settled_by == "file"]
DARK, HEALTHY = CALLED[0], CALLED[1:]
OF_EACH = ceil(SECONDS * RATE / 3)
# Billers by file deliver their bills in advance, on average 1.15 per account.
ACCOUNTS = max(400, ceil(OF_EACH / len(BY_FILE)))
# Bills of the other billers are looked up: one lookup for many bills of an account.
BILLS_AN_ACCOUNT = 20
# This many bills of the dark biller expire after three quarters of its outage.
EXPIRING = 10
EXPIRE_AFTER_SECONDS = WARM_UP_SECONDS + BEFORE_SECONDS + 0.75 * DARK_SECONDS
PAYERS = [f"patient-{number:02d}" for number in range(60)]
# The channel's limit.
LARGEST_TOP_UP = 5_000_000


@dataclass(frozen=True)
class PacedLoad:
    """Commands in the order in which they are due."""

    commands: list[Event]
    paid: dict[str, list[PayBill]]  # by kind of biller: dark, called or file
    looked_up: list[LookUpBills]  # at healthy billers
    expires_at: dict[UUID, datetime]  # of each payment, when its bill expires

    @property
    def payment_ids(self) -> set[UUID]:
        return {each.payment_id for each in chain.from_iterable(self.paid.values())}

    @property
    def healthy(self) -> dict[str, list[str]]:
        """The ids of payments and lookups that must not be slower, by group."""
        return {
            "payments to called billers": [each.key for each in self.paid["called"]],
            "payments to billers by file": [each.key for each in self.paid["file"]],
            "lookups at called billers": [each.key for each in self.looked_up],
        }


@dataclass(frozen=True)
class Times:
    """The times at which each command was due, the load began, and the biller's outage began and ended."""

    due: dict[str, float]
    began: float
    dark: float
    back: float


async def make_load(city: LocalCity, wallet: WalletApp) -> PacedLoad:
    """Create bills, fill wallets, and return the commands that pay and look up."""
    wanted = {DARK: OF_EACH, **dict.fromkeys(HEALTHY, ceil(OF_EACH / len(HEALTHY)))}
    await asyncio.to_thread(_issue_bills, city, wanted)
    by_biller = await owed_bills(city, wallet, wanted)
    by_biller |= {each: await _bills_by_file(city, each) for each in BY_FILE}
    bills = {
        "dark": by_biller[DARK],
        "called": _in_turn([by_biller[each] for each in HEALTHY]),
        "file": _in_turn([by_biller[each] for each in BY_FILE]),
    }
    await _fill_wallets(wallet, chain.from_iterable(bills.values()))
    # Last, because these bills expire soon. Their commands are due right after the start of the outage.
    first = ceil((WARM_UP_SECONDS + BEFORE_SECONDS + 0.5) * RATE / 3)
    expiring = await _expiring(city, wallet, bills["dark"][:EXPIRING])
    bills["dark"][first : first + EXPIRING] = expiring
    payers = cycle(PAYERS)
    paid = {name: [pay_bill(each, next(payers)) for each in bills[name]] for name in bills}
    looked_up = {name: _lookups(bills[name]) for name in ("dark", "called")}
    expires_at = {
        command.payment_id: datetime.fromisoformat(bill["expires_at"])
        for name in bills
        for command, bill in zip(paid[name], bills[name], strict=True)
    }
    commands = _merged([*paid.values(), *looked_up.values()])
    return PacedLoad(commands, paid, looked_up["called"], expires_at)


async def send(city: LocalCity, load: PacedLoad) -> Times:
    """Send all commands at an even rate; the dark biller's outage begins in the middle and ends with the load."""
    records = encode(load.commands, city.home.secrets["signing_key"])
    async with Wallets(city.environment["METERHALL_KAFKA"]) as wallets:
        pacing = asyncio.create_task(wallets.pace(records, len(records) / SECONDS))
        began = time.time()
        await asyncio.sleep(WARM_UP_SECONDS + BEFORE_SECONDS)
        dark = time.time()
        await asyncio.to_thread(_start_outage, city)
        due = await pacing
        back = time.time()
        await asyncio.to_thread(_end_outage, city)
    return Times(due, began, dark, back)


def _in_turn(bills: list[list[OwedBill]]) -> list[OwedBill]:
    return [bill for turn in zip(*bills, strict=True) for bill in turn][:OF_EACH]


def _lookups(bills: list[OwedBill]) -> list[LookUpBills]:
    known = dict.fromkeys(UUID(bill["account_id"]) for bill in bills)
    accounts = islice(cycle(known), ceil(LOOKUP_RATE * SECONDS))
    return [
        LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=account) for account in accounts
    ]


def _merged(streams: list[list[Any]]) -> list[Event]:
    # Each stream is spread evenly over the whole time.
    due = [
        (place / len(stream), number, command)
        for number, stream in enumerate(streams)
        for place, command in enumerate(stream)
    ]
    return [command for _, _, command in sorted(due, key=lambda each: each[:2])]


def _issue_bills(city: LocalCity, wanted: Mapping[str, int]) -> None:
    """Issue further bills to the first accounts of each biller."""
    url = f"{city.home.url('billers')}/sandbox/accounts?owing=true&limit=100000&biller="
    for biller, count in wanted.items():
        for account in city_books.fetch(url + biller)[: ceil(count / BILLS_AN_ACCOUNT)]:
            bill = {"biller": biller, "account_number": account, "amount_minor": 7_000}
            for _ in range(BILLS_AN_ACCOUNT):
                city_books.control(city, "POST", "billers", "/sandbox/bills", bill)


async def _bills_by_file(city: LocalCity, biller: str) -> list[OwedBill]:
    rows = await city_books.query(
        city,
        "SELECT b.* FROM bills b JOIN accounts a ON a.id = b.account_id"
        f" WHERE a.biller_id = '{biller}' ORDER BY b.id LIMIT {ceil(OF_EACH / len(BY_FILE))}",
    )
    return [{**row, "expires_at": row["expires_at"].isoformat()} for row in rows]


async def _fill_wallets(wallet: WalletApp, bills: Iterable[OwedBill]) -> None:
    """Top up the payers' wallets with twice the sum of all bills: the bills are not assigned to payers yet."""
    total = sum(amount_for(bill) for bill in bills)
    each = 2 * total // len(PAYERS) + LARGEST_TOP_UP
    places = asyncio.Semaphore(MOST_OPEN)

    async def top_up(payer: str) -> None:
        async with places:
            await wallet.top_up(payer, LARGEST_TOP_UP)

    async with asyncio.TaskGroup() as group:
        for payer in PAYERS:
            for _ in range(ceil(each / LARGEST_TOP_UP)):
                group.create_task(top_up(payer))


async def _expiring(city: LocalCity, wallet: WalletApp, like: list[OwedBill]) -> list[OwedBill]:
    """Issue a bill that soon expires to the account of each of these bills."""
    issued = []
    for number, bill in enumerate(like):
        amount_minor = 9_001 + number
        new_bill = {
            "biller": DARK,
            "account_number": bill["account_number"],
            "amount_minor": amount_minor,
            "expires_in_seconds": ceil(EXPIRE_AFTER_SECONDS),
        }
        await asyncio.to_thread(
            city_books.control, city, "POST", "billers", "/sandbox/bills", new_bill
        )
        lookup = await wallet.look_up(DARK, bill["account_number"])
        issued += [each for each in lookup["bills"] if each["amount_minor"] == amount_minor]
    assert len(issued) == len(like)
    return issued


def _start_outage(city: LocalCity) -> None:
    hang = {"biller": DARK, "kind": "timeout_before", "probability": 1.0, "seconds": 3_600}
    city_books.control(city, "POST", "billers", "/sandbox/faults", hang)


def _end_outage(city: LocalCity) -> None:
    city_books.control(city, "DELETE", "billers", f"/sandbox/faults?biller={DARK}")
