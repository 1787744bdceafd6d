"""A channel's key signs commands of that channel only: keys from the command line, commands through the real Kafka."""

import asyncio
import time
from typing import Any
from uuid import UUID, uuid4

from events.ids import uuid7
from events.payments import PayBill, WalletFunding
from events.topics import DEAD_LETTERS, PAYMENT_COMMANDS, PAYMENT_GROUP
from messaging.outbox import unpack_raw
from sandbox.demo.day import amount_for
from sandbox.demo.wallet_app import WalletApp
from sandbox.local_city import CHANNEL, LocalCity
from tests.end_to_end import city_books
from tests.end_to_end.test_city import PATIENCE_SECONDS, ended, owed

LETTERS = DEAD_LETTERS[PAYMENT_COMMANDS.name, PAYMENT_GROUP]


def command_of(bill: dict[str, Any], payer: str) -> PayBill:
    """Return a command that pays this bill from a wallet of the city's channel."""
    return PayBill(
        payment_id=uuid7(),
        channel=CHANNEL,
        payer=payer,
        bill_id=UUID(bill["id"]),
        amount_minor=amount_for(bill),
        currency=bill["currency"],
        funding=WalletFunding(),
    )


async def dead_letter_reason(city: LocalCity, command: PayBill) -> str:
    """Wait for the command's dead letter, and return its reason."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        rows = await city_books.query(
            city, f"SELECT raw FROM outbox WHERE topic = {LETTERS.code} AND key = '{command.key}'"
        )
        if rows:
            return dict(unpack_raw(rows[0]["raw"])[1])["dlq-reason"].decode()
        assert time.monotonic() < deadline, "no dead letter"
        await asyncio.sleep(0.1)


async def test_another_channel_cannot_spend_from_a_wallet(
    city: LocalCity, wallet: WalletApp
) -> None:
    payer = f"rich-{uuid4().hex[:8]}"
    await wallet.top_up(payer, 4_000_000)
    before = await wallet.get(f"/v1/wallets/{payer}")
    stranger = f"stranger-{uuid4().hex[:8]}"
    city.command("channels", "create", stranger, "A stranger")
    key = city.command("channels", "issue-signing-key", stranger).split()[-1]
    assert key.split("_")[1] in city.command("channels", "list", "--json")
    command = command_of(await owed(city, wallet, 20), payer)
    async with WalletApp(
        city.environment, {**city.home.secrets, "signing_key": key}, stranger
    ) as foe:
        await foe.send(command)
        assert await dead_letter_reason(city, command) == "wrong_channel"
        city.command("channels", "revoke-signing-key", key)
        revoked_at = time.monotonic()
        while True:
            other = command.model_copy(update={"payment_id": uuid7()})
            await foe.send(other)
            if await dead_letter_reason(city, other) == "bad_signature":
                break
            assert time.monotonic() - revoked_at < 60, "a revoked key stops within two seconds"
    assert await wallet.get(f"/v1/wallets/{payer}") == before
    assert command.payment_id not in await city_books.payments(city)
    # The channel itself can, with the same command.
    assert city.home.secrets["signing_key"] == city.environment["METERHALL_DEMO_SIGNING_KEY"]
    await wallet.send(command)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while command.payment_id not in await city_books.payments(city):
        assert time.monotonic() < deadline, "the worker did not accept it"
        await asyncio.sleep(0.1)
    assert (await ended(wallet, command.payment_id))["status"] == "succeeded"
