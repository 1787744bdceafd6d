"""A promise whose command becomes a dead letter ends as failed, where its wallet sees it."""

from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from kafka import KafkaProducer
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from events.topics import PAYMENT_COMMANDS
from messaging.control import read_dead_letters, replay_dead_letters
from messaging.relay import Relay
from services.billing.channels import Trust, door_key
from tests.services.billing.door.test_promised_refunds import promised
from tests.services.billing.door.web import Wallet
from tests.services.billing.handlers.command_worker import CommandWorker, until, working
from tests.services.billing.payments import books
from tests.support.command_line import meterhall
from tests.support.commands import make_signing_key, send, signed
from tests.support.databases import Database
from tests.support.errands import PayingProcess
from tests.support.factories import (
    CHANNEL,
    fund_wallet,
    make_bill,
    pay_bill,
    refund_payment,
    top_up_wallet,
)

STRANGER = "other-app"
TOP_UP = {"payer": "payer-1", "amount_minor": 500, "currency": "CNY", "payment_method": "pm_x"}


class Street(CommandWorker):
    """A worker whose relay a test runs, and the wallet apps of two channels."""

    relay: Relay
    wallet: Wallet
    stranger: Wallet

    async def becomes(self, url: str, status: str) -> dict[str, Any]:
        """Publish what waits, until the wallet sees this status."""

        async def seen() -> bool:
            await self.relay.run_once()
            return bool((await self.wallet.get(url)).json()["status"] == status)

        await until(seen, f"{url} is {status}")
        found: dict[str, Any] = (await self.wallet.get(url)).json()
        return found

    async def listed(self) -> list[tuple[str, str, str | None]]:
        """Id, status and reason of each payment that the wallet is shown."""
        items = (await self.wallet.get("/v1/payments")).json()["items"]
        return [(each["id"], each["status"], each["reason"]) for each in items]


@pytest.fixture
async def street(  # noqa: PLR0917
    kafka: str,
    database: Database,
    engine: AsyncEngine,
    payments: PayingProcess,
    wallet: Wallet,
    stranger: Wallet,
    tmp_path: Path,
) -> AsyncIterator[Street]:
    for channel in (CHANNEL, STRANGER):
        await fund_wallet(engine, 100_000, channel=channel)
    made = Street(kafka, engine)
    made.relay = Relay(database.billing_url, "billing", kafka)
    made.wallet, made.stranger = wallet, stranger
    async with working(kafka, payments, engine, tmp_path):
        yield made
    await made.relay.close()


async def test_a_payment_whose_id_another_channel_used_first(
    street: Street, engine: AsyncEngine
) -> None:
    id = await promised(street.wallet, engine)
    theirs = pay_bill(await make_bill(engine), payment_id=id, channel=STRANGER).command
    await street.pays(signed(theirs, await make_signing_key(engine, STRANGER)))
    assert (await street.wallet.get(f"/v1/payments/{id}")).json()["status"] == "processing"
    assert await street.listed() == [(str(id), "processing", None)]
    seen = await street.becomes(f"/v1/payments/{id}", "failed")
    assert (seen["reason"], seen["state"], seen["receipt_number"]) == (
        "id_reused",
        "not_accepted",
        None,
    )
    assert seen["finished_at"] >= seen["created_at"]
    assert await street.listed() == [(str(id), "failed", "id_reused")]
    other = (await street.stranger.get(f"/v1/payments/{id}")).json()
    assert (other["status"], other["reason"]) == ("succeeded", None)


async def test_a_refund_and_a_top_up_whose_ids_another_channel_used_first(
    street: Street, engine: AsyncEngine
) -> None:
    key = await make_signing_key(engine, STRANGER)
    paid = pay_bill(await make_bill(engine), channel=STRANGER).command
    await street.pays(signed(paid, key))
    mine = await promised(street.wallet, engine)
    await street.becomes(f"/v1/payments/{mine}", "succeeded")
    refund = (await street.wallet.post(f"/v1/payments/{mine}/refunds", {})).json()
    top_up = (await street.wallet.post("/v1/top-ups", TOP_UP)).json()
    first = refund_payment(paid.payment_id, 50, refund_id=UUID(refund["id"]), channel=STRANGER)
    second = top_up_wallet(top_up_id=UUID(top_up["id"]), channel=STRANGER)
    await send(street.kafka, *(signed(each.command, key) for each in (first, second)))

    async def there() -> bool:
        return (await street.count("refunds"), await street.count("top_ups")) == (1, 3)

    await until(there, "the other channel's are accepted")
    for promise in (refund, top_up):
        assert (await street.wallet.get(promise["url"])).json()["status"] == "processing"
    for promise, reason in ((refund, "refund_id_reused"), (top_up, "id_reused")):
        seen = await street.becomes(promise["url"], "failed")
        assert (seen["id"], seen["reason"]) == (promise["id"], reason)
    assert (await street.wallet.get(f"/v1/payments/{mine}")).json()["refunded_minor"] == 0


async def test_a_poison_command(
    street: Street, engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    """Its neighbours are paid; once it is mended and replayed, the payment counts and the promise no more."""
    good, bad = [await promised(street.wallet, engine) for _ in range(2)]
    async with owner_engine.begin() as connection:
        await connection.execute(
            text(f"ALTER TABLE payments ADD CONSTRAINT poison CHECK (id <> '{bad}')")
        )
    seen = await street.becomes(f"/v1/payments/{bad}", "failed")
    assert seen["reason"] == "command_failed"
    assert (await street.becomes(f"/v1/payments/{good}", "succeeded"))["reason"] is None
    async with owner_engine.begin() as connection:
        await connection.execute(text("ALTER TABLE payments DROP CONSTRAINT poison"))
    await street.relay.run_once()
    replay_dead_letters(
        street.kafka,
        [
            each
            for each in read_dead_letters(street.kafka, PAYMENT_COMMANDS.name)
            if each.key == str(bad).encode()
        ],
    )
    seen = await street.becomes(f"/v1/payments/{bad}", "succeeded")
    assert (seen["state"], seen["reason"]) == ("succeeded", None)
    assert len(await street.listed()) == 2
    refund = (await street.wallet.post(f"/v1/payments/{bad}/refunds", {})).json()
    assert (await street.becomes(refund["url"], "succeeded"))["amount_minor"] == 8_850
    await books.audit(engine)


async def test_a_command_that_the_worker_can_not_verify(
    street: Street, engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    """The door signs with another secret than the worker knows."""
    id = await promised(street.wallet, engine)
    other = door_key(Trust(b"another secret, also with 32 characters or more"))
    assert other is not None
    async with owner_engine.begin() as connection:
        await connection.execute(
            text("UPDATE outbox SET signature = :other WHERE topic = 3"),
            {"other": other.sign("t", "k", "i", "t", b"")},
        )
    seen = await street.becomes(f"/v1/payments/{id}", "failed")
    assert seen["reason"] == "bad_signature"


async def test_a_dead_letter_of_another_command_ends_no_promise(
    street: Street, engine: AsyncEngine
) -> None:
    """Somebody who knows a payment's id, but not the id of its command, cannot end its promise."""
    id = await promised(street.wallet, engine)
    command = pay_bill(await make_bill(engine), payment_id=id).command
    foreign = signed(command, await make_signing_key(engine, STRANGER))
    odd: Sequence[bytes] = (b'{"refund_id": 7}', b"[" * 100_000, b'"\\u0000"', b"\xff")
    records = [signed(command, None).with_fields(value=value) for value in odd]
    assert await street.refusals(foreign, *records) == ["wrong_channel", *["bad_value"] * len(odd)]
    assert await street.listed() == [(str(id), "processing", None)]
    assert (await street.becomes(f"/v1/payments/{id}", "succeeded"))["reason"] is None


async def test_a_record_whose_headers_are_damaged_is_a_dead_letter_all_the_same(
    street: Street, engine: AsyncEngine
) -> None:
    producer = KafkaProducer(bootstrap_servers=street.kafka)
    for headers in ([], [("ce_id", b"\xff")], [("ce_id", b"x" * 500)], [("ce_id", b"")]):
        producer.send(PAYMENT_COMMANDS.name, b"{", key=b"\x00\xff", headers=headers)
    producer.close()
    id = await promised(street.wallet, engine)
    await street.becomes(f"/v1/payments/{id}", "succeeded")

    async def buried() -> bool:
        async with engine.connect() as connection:
            found = await connection.scalar(text("SELECT count(*) FROM outbox WHERE topic > 100"))
        return int(found or 0) == 4

    await until(buried, "each is a dead letter")


async def test_an_operator_gives_up_a_promise_whose_command_is_lost(
    street: Street, engine: AsyncEngine, owner_engine: AsyncEngine, database: Database
) -> None:
    lost, kept = [await promised(street.wallet, engine) for _ in range(2)]
    async with owner_engine.begin() as connection:
        await connection.execute(text("DELETE FROM outbox WHERE key = :key"), {"key": str(lost)})
    await street.becomes(f"/v1/payments/{kept}", "succeeded")
    given_up = await meterhall(database, "payments", "give-up", str(lost))
    assert (given_up.code, given_up.out) == (0, f"The promised payment {lost} has failed.\n")
    for each in (lost, kept, uuid7()):
        again = await meterhall(database, "payments", "give-up", str(each))
        assert (again.code, again.out, again.err.count("\n")) == (1, "", 1)
    shown = await meterhall(database, "payments", "show", str(lost))
    assert "promise not kept: command_lost" in shown.out
    seen = (await street.wallet.get(f"/v1/payments/{lost}")).json()
    assert (seen["status"], seen["reason"]) == ("failed", "command_lost")
