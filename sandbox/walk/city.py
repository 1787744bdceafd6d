"""A city whose billing processes report their calls, and the one payment that is followed in it."""

import asyncio
import json
import time
import urllib.request
from pathlib import Path
from typing import Any
from uuid import UUID

from sandbox.demo.day import amount_for
from sandbox.demo.wallet_app import WalletApp
from sandbox.local.local_process import LocalProcess
from sandbox.local.ports import NotReadyError
from sandbox.local_city import CHANNEL, SERVICES, LocalCity
from sandbox.walk.report import Part
from sandbox.walk.traced import Call, take_from

# Notifications would get the receipt's events when the walk is over.
TRACED = ("web", "relay", "worker", "timer")
# Longer than the interval of periodic work (the relay stores its position every ten seconds). Some jobs of the timer
# are rarer: they run at its start, and again a minute later at the earliest.
QUIET_SECONDS = 12.0
RARE_JOBS_SECONDS = 55.0
# A payment takes less than one second; the PSP's webhooks and the relay's last write come soon after.
PAYMENT_SECONDS = 4.0
PATIENCE_SECONDS = 60.0

Json = dict[str, Any]


class TracedCity(LocalCity):
    """The sandbox's city without notifications, and with the other processes run by traced.py."""

    launched_at = 0.0

    def _services(self) -> None:
        self.tell("Meterhall")
        self.launched_at = time.monotonic()
        self._launch([self._process(name, *SERVICES[name]) for name in TRACED])

    def _process(self, name: str, module: str, port: str, *arguments: str) -> LocalProcess:
        process = super()._process(name, module, port, *arguments)
        if name in TRACED:
            process.module = "sandbox.walk.traced"
            process.arguments = (str(self._socket(name)), module)
        return process

    def take(self) -> dict[str, list[Call]]:
        """Return the calls of each process since the last time."""
        return {name: take_from(self._socket(name)) for name in TRACED}

    def _socket(self, name: str) -> Path:
        return self.home.folder / f"{name}.sock"


async def follow_one(city: TracedCity, quiet_seconds: float = QUIET_SECONDS) -> list[Part]:
    """Pay a bill and show its receipt; return the calls with and without a payment, in the order of the walk.

    Another bill is paid before, so that one-time initialisation is not counted.
    """
    async with WalletApp(city.environment, city.home.secrets, CHANNEL) as wallet:
        first, second = await _bills(city, wallet)
        await _show(wallet, await _pay(wallet, first))
        await asyncio.sleep(PAYMENT_SECONDS)
        started = city.take()["timer"]
        city.tell(f"what runs without a payment: {quiet_seconds:.0f} s")
        await asyncio.sleep(quiet_seconds)
        idle = city.take()
        idle["timer"] += started
        city.tell(f"one payment: {PAYMENT_SECONDS:.0f} s")
        payment_id = await _pay(wallet, second)
        promised = city.take()
        await asyncio.sleep(PAYMENT_SECONDS)
        paid = city.take()
        city.tell("its receipt")
        await _show(wallet, payment_id)
        shown = city.take()
    if time.monotonic() - city.launched_at > RARE_JOBS_SECONDS:
        city.tell("this machine is slow: jobs of the timer may be among what is counted")
    others = [
        Part(name, name, promised[name] + paid[name] + shown[name], idle[name])
        for name in TRACED
        if name != "web"
    ]
    return [
        Part("web: POST /v1/payments", "web", promised["web"], idle["web"]),
        *others,
        Part("web: the PSP's webhooks", "web", paid["web"], idle["web"], after=True),
        Part("web: the payment and its receipt", "web", shown["web"], idle["web"], after=True),
    ]


async def _bills(city: TracedCity, wallet: WalletApp) -> list[Json]:
    # Two bills at one biller with a JSON interface.
    biller = next(each for each in city.billers() if _dialect(each) == "json")
    url = f"{city.home.url('billers')}/sandbox/accounts?owing=true&limit=2&biller={biller['id']}"
    accounts = json.loads(await asyncio.to_thread(_read, url))
    found = [await wallet.look_up(str(biller["id"]), account) for account in accounts]
    return [each["bills"][0] for each in found]


def _dialect(biller: dict[str, object]) -> object:
    connector = biller["connector"]
    assert isinstance(connector, dict)
    return connector["dialect"]


async def _pay(wallet: WalletApp, bill: Json) -> UUID:
    return await wallet.pay(
        {
            "bill_id": bill["id"],
            "payer": "walker",
            "amount_minor": amount_for(bill),
            "currency": bill["currency"],
            "funding": {"kind": "psp", "payment_method": "pm_card_visa"},
        }
    )


async def _show(wallet: WalletApp, payment_id: UUID) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (found := await wallet.get(f"/v1/payments/{payment_id}"))["status"] != "succeeded":
        if found["status"] != "processing" or time.monotonic() > deadline:
            raise NotReadyError(f"the payment is {found['status']}, and not succeeded")
        await asyncio.sleep(0.1)
    receipt = await wallet.get(f"/v1/payments/{payment_id}/receipt")
    # The public page of the receipt.
    await asyncio.to_thread(_read, receipt["verify_url"])


def _read(url: str) -> bytes:
    with urllib.request.urlopen(url) as answer:
        body: bytes = answer.read()
    return body
