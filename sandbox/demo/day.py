"""The day itself, step by step: fill wallets, look bills up, pay them, give some money back, close the books.

A few things go wrong on purpose: cards are declined, one biller refuses, another one does not answer in time. Even so
no payment may stay open, and all books must agree.
"""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import aiohttp

from events.ids import uuid7
from events.payments import PayBill, PspFunding, WalletFunding
from sandbox.demo.wallet_app import MOST_OPEN, WalletApp, WalletError
from sandbox.local_city import CHANNEL, LocalCity

PAYERS = 120
TOP_UP_MINOR = 2_000_000
# One payment in this many uses a card that the PSP declines.
ONE_DECLINED_IN = 80
REFUSED, UNANSWERED = 12, 6
FULL_REFUNDS, PARTIAL_REFUNDS = 12, 6
# Every biller answers within its time limit, and a call that times out is repeated after seconds.
PATIENCE_SECONDS = 180.0
TERMINAL = {"succeeded", "failed", "refunded"}

Advance = Callable[[str, int, int], None]


@dataclass
class DemoOutcome:
    """The result of the day, as a wallet sees it."""

    lookups: Counter[str] = field(default_factory=Counter)
    payments: list[dict[str, Any]] = field(default_factory=list)
    refunds: Counter[str] = field(default_factory=Counter)
    receipts: list[dict[str, Any]] = field(default_factory=list)
    by_door: Counter[str] = field(default_factory=Counter)
    mails: int = 0


class DemoDay:
    """One day of one wallet app in the city. It reports its progress to `advance(step, done, of)`."""

    def __init__(self, city: LocalCity, count: int, advance: Advance) -> None:
        self._city = city
        self._count = count
        self._advance = advance
        self._random = random.Random(city.seed)
        self._payers = [f"payer-{number:04d}" for number in range(1, PAYERS + 1)]
        self.outcome = DemoOutcome()

    async def run(self) -> DemoOutcome:
        """Run the day, from the morning to the last delivered mail."""
        async with WalletApp(self._city.environment, self._city.home.secrets, CHANNEL) as wallet:
            await self._all(
                "payers introduce themselves", map(self._introduce(wallet), self._payers)
            )
            await self._all(
                "wallets are topped up through the PSP",
                (wallet.top_up(payer, TOP_UP_MINOR) for payer in self._payers),
            )
            bills = await self._look_up(wallet)
            await self._trouble()
            ids = await self._pay(wallet, bills)
            await self._settle(wallet, "payments reach their end", ids)
            await self._refund(wallet)
            await self._receipts(wallet)
            await self._delivered()
        return self.outcome

    def _introduce(self, wallet: WalletApp) -> Callable[[str], Awaitable[None]]:
        def introduce(payer: str) -> Awaitable[None]:
            language = "zh-CN" if int(payer[-4:]) % 2 else "en"
            return wallet.introduce(payer, f"{payer}@example.com", language)

        return introduce

    async def _look_up(self, wallet: WalletApp) -> list[dict[str, Any]]:
        # As many accounts of every biller as it takes; each owes a bill or two.
        accounts = await self._accounts()
        bills: list[dict[str, Any]] = []

        async def look_up(biller: str, account: str) -> None:
            found = await wallet.look_up(biller, account)
            self.outcome.lookups[found["status"]] += 1
            bills.extend({**bill, "biller_id": biller} for bill in found.get("bills", ()))

        while len(bills) < self._count and accounts:
            missing = max((self._count - len(bills)) * 2 // 3, 20)
            now, accounts = accounts[:missing], accounts[missing:]
            await self._all("bills are looked up", (look_up(*each) for each in now))
        return bills[: self._count]

    async def _accounts(self) -> list[tuple[str, str]]:
        url = self._city.home.url("billers")
        found: list[list[tuple[str, str]]] = []
        async with aiohttp.ClientSession() as http:
            for row in self._city.billers():
                query = f"{url}/sandbox/accounts?biller={row['id']}&owing=true&limit=1000"
                async with http.get(query) as answer:
                    numbers = await answer.json()
                found.append([(str(row["id"]), number) for number in numbers])
        # A bill of each biller in turn, so that all of them take part however few bills are paid.
        turns = itertools.zip_longest(*found)
        return [each for turn in turns for each in turn if each is not None]

    async def _trouble(self) -> None:
        # One biller refuses some, another one marks some bills paid and does not answer.
        http_billers = [row for row in self._city.billers() if row["settled_by"] == "call"]
        url = f"{self._city.home.url('billers')}/sandbox/faults"
        faults: Sequence[tuple[dict[str, Any], str, int]] = (
            (http_billers[0], "refuse", REFUSED),
            (http_billers[1], "timeout_after", UNANSWERED),
        )
        async with aiohttp.ClientSession() as http:
            for biller, kind, times in faults:
                fault = {"biller": biller["id"], "operation": "apply", "kind": kind, "times": times}
                async with http.post(url, json=fault) as answer:
                    answer.raise_for_status()

    async def _pay(self, wallet: WalletApp, bills: Sequence[dict[str, Any]]) -> list[UUID]:
        ids: list[UUID] = []

        async def pay(number: int, bill: dict[str, Any]) -> None:
            door = "HTTP" if number % 2 else "Kafka"
            funding = self._funding(number)
            payer = self._payers[number % PAYERS]
            self.outcome.by_door[f"{door}, {funding.kind}"] += 1
            command = PayBill(
                payment_id=uuid7(),
                channel=CHANNEL,
                payer=payer,
                bill_id=UUID(bill["id"]),
                amount_minor=amount_for(bill),
                currency=bill["currency"],
                funding=funding,
            )
            if door == "Kafka":
                await wallet.send(command)
                ids.append(command.payment_id)
            else:
                body = command.model_dump(mode="json", exclude={"payment_id", "channel"})
                ids.append(await wallet.pay(body))

        await self._all("bills are paid", (pay(n, bill) for n, bill in enumerate(bills)))
        return ids

    def _funding(self, number: int) -> WalletFunding | PspFunding:
        if number // 2 % 2:
            return WalletFunding()
        declined = number % ONE_DECLINED_IN == 0
        return PspFunding(payment_method="pm_card_chargeDeclined" if declined else "pm_card_visa")

    async def _settle(self, wallet: WalletApp, step: str, ids: Iterable[UUID]) -> None:
        # Payments sent through Kafka do not exist until the worker has accepted them, so wait for all.
        expected = {str(id) for id in ids}
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while True:
            self.outcome.payments = await wallet.payments()
            ended = {p["id"] for p in self.outcome.payments if p["status"] in TERMINAL}
            self._advance(step, len(expected & ended), len(expected))
            if expected <= ended:
                return
            if loop.time() > deadline:
                raise WalletError(f"{len(expected - ended)} payments are still open")
            await asyncio.sleep(0.5)

    async def _refund(self, wallet: WalletApp) -> None:
        succeeded = [p for p in self.outcome.payments if p["status"] == "succeeded"]
        # A biller may refuse to take its mark back on another day; today it does not.
        chosen = self._random.sample(succeeded, min(len(succeeded), FULL_REFUNDS + PARTIAL_REFUNDS))

        async def refund(number: int, payment: dict[str, Any]) -> None:
            part = None if number < FULL_REFUNDS else max(payment["amount_minor"] // 3, 1)
            id = await wallet.refund(UUID(payment["id"]), part)
            found = await wallet.refunded(id)
            kind = "partial" if part else "full"
            self.outcome.refunds[f"{kind}, {found}"] += 1

        await self._all("some money goes back", (refund(n, p) for n, p in enumerate(chosen)))
        self.outcome.payments = await wallet.payments()

    async def _receipts(self, wallet: WalletApp) -> None:
        # A refunded payment has succeeded before; its receipt says that it is void.
        paid = [p for p in self.outcome.payments if p["status"] in {"succeeded", "refunded"}]

        async def fetch(payment: dict[str, Any]) -> None:
            self.outcome.receipts.append(await wallet.get(f"/v1/payments/{payment['id']}/receipt"))

        await self._all("receipts are fetched", map(fetch, paid))

    async def _delivered(self) -> None:
        # A mail for each receipt, each failed payment and each refund: every payer has a mail address.
        outcome = self.outcome
        ended = [p for p in outcome.payments if p["status"] in TERMINAL]
        outcome.mails = len(ended) + outcome.refunds["full, succeeded"]
        outcome.mails += outcome.refunds["partial, succeeded"]
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        async with aiohttp.ClientSession(self._city.home.url("mailbox")) as http:
            while True:
                async with http.get("/messages", params={"limit": 1}) as answer:
                    arrived = int((await answer.json())["count"])
                self._advance("mails are delivered", arrived, outcome.mails)
                if arrived >= outcome.mails:
                    return
                if loop.time() > deadline:
                    raise WalletError(f"only {arrived} of {outcome.mails} mails have arrived")
                await asyncio.sleep(0.5)

    async def _all(self, step: str, work: Iterable[Awaitable[Any]]) -> None:
        todo = list(work)
        places = asyncio.Semaphore(MOST_OPEN)
        done = 0

        async def one(each: Awaitable[Any]) -> None:
            nonlocal done
            async with places:
                await each
            done += 1
            self._advance(step, done, len(todo))

        async with asyncio.TaskGroup() as group:
            for each in todo:
                group.create_task(one(each))


def amount_for(bill: dict[str, Any]) -> int:
    """Return an amount that the bill's rule allows: the amount due, within its bounds and multiples."""
    amount = int(bill["amount_minor"])
    low, high, step = bill.get("min_minor"), bill.get("max_minor"), bill.get("multiple_minor")
    if low is not None:
        amount = max(amount, low)
    if high is not None:
        amount = min(amount, high)
    if step:
        amount = max(amount // step, 1) * step
        if low is not None and amount < low:
            amount += step
    return max(amount, 1)
