"""Payments as a wallet app sends them: unpaid bills, commands, retries, and waiting for the end."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, TypeVar
from uuid import UUID

import aiohttp
from kafka.errors import KafkaError

from events.ids import uuid7
from events.payments import PayBill, PspFunding, WalletFunding
from sandbox.demo.day import amount_for
from sandbox.demo.wallet_app import WalletApp, WalletError
from sandbox.local_city import CHANNEL, LocalCity
from tests.end_to_end import city_books

ResponseT = TypeVar("ResponseT")
OwedBill = dict[str, Any]
OPEN_STATES = frozenset(("accepted", "authorized", "applied"))


async def owed_bills(
    city: LocalCity, wallet: WalletApp, wanted: Mapping[str, int]
) -> dict[str, list[OwedBill]]:
    """Look up the wanted number of unpaid bills of each biller; each bill has its biller and account number."""
    bills_of: dict[str, list[OwedBill]] = {biller: [] for biller in wanted}
    places = asyncio.Semaphore(32)

    async def look_up(biller: str, account: str) -> None:
        async with places:
            if len(bills_of[biller]) < wanted[biller]:
                lookup = await wallet.look_up(biller, account)
                own = {"biller_id": biller, "account_number": account}
                bills_of[biller] += [
                    {**bill, **own} for bill in lookup.get("bills", ()) if bill["payable"]
                ]

    url = f"{city.home.url('billers')}/sandbox/accounts?owing=true&limit=100000&biller="
    async with asyncio.TaskGroup() as group:
        for biller in wanted:
            for account in city_books.fetch(url + biller):
                group.create_task(look_up(biller, account))
    for biller, bills in bills_of.items():
        assert len(bills) >= wanted[biller], f"{biller} is owed only {len(bills)} bills"
        del bills[wanted[biller] :]
    return bills_of


def evenly(city: LocalCity, count: int) -> dict[str, int]:
    """Return the number of bills per biller of the city that makes at least `count` in all."""
    billers = [str(row["id"]) for row in city.billers()]
    return {biller: -(-count // len(billers)) for biller in billers}


def pay_bill(bill: OwedBill, payer: str, payment_method: str | None = None) -> PayBill:
    """Return a command that pays this bill, from the payer's wallet or with a means of payment at the PSP."""
    return PayBill(
        payment_id=uuid7(),
        channel=CHANNEL,
        payer=payer,
        bill_id=UUID(str(bill["id"])),
        amount_minor=amount_for(bill),
        currency=bill["currency"],
        funding=PspFunding(payment_method=payment_method) if payment_method else WalletFunding(),
    )


async def retry_until_answered(
    call: Callable[[], Awaitable[ResponseT]], seconds: float = 180.0
) -> ResponseT:
    """Retry after server errors and lost connections, as a wallet does; a refusal (4xx) is raised."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        try:
            return await call()
        except WalletError as error:
            if error.status < 500:
                raise
            failure: Exception = error
        except (aiohttp.ClientError, KafkaError, OSError, TimeoutError) as error:
            failure = error
        if asyncio.get_running_loop().time() > deadline:
            raise failure
        await asyncio.sleep(0.5)


async def ended(city: LocalCity, ids: Collection[UUID], seconds: float) -> set[UUID]:
    """Wait until these payments have ended; return those that have not in time. Dead processes are restarted."""
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        city.revive()
        known = await city_books.payments(city)
        open_ids = {id for id in ids if id not in known or known[id].state in OPEN_STATES}
        if not open_ids or asyncio.get_running_loop().time() > deadline:
            return open_ids
        await asyncio.sleep(0.5)


async def published(city: LocalCity) -> None:
    """Wait until both relays have nothing left to publish."""
    deadline = asyncio.get_running_loop().time() + 60
    for schema in ("billing", "notifications"):
        while True:
            rows = await city_books.query(
                city,
                "SELECT count(*) AS left FROM outbox, outbox_cursor"
                " WHERE NOT pg_visible_in_snapshot(xid, prev)",
                schema,
            )
            if not rows[0]["left"]:
                break
            assert asyncio.get_running_loop().time() < deadline, f"{schema} still has {rows[0]}"
            await asyncio.sleep(0.2)
