"""A payment that is promised and not accepted yet is known to refunds, through either door."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.signature import SigningKey
from messaging.relay import Relay
from tests.services.billing.door.web import Wallet, deliver, problem
from tests.services.billing.handlers.command_worker import (
    CommandWorker,
    copied,
    until,
    working,
)
from tests.services.billing.payments import books
from tests.support.commands import make_signing_key, send, signed
from tests.support.databases import Database
from tests.support.errands import PayingProcess
from tests.support.factories import (
    CHANNEL,
    fund_wallet,
    make_bill,
    make_channel,
    pay_bill,
    refund_payment,
)

STRANGER = "other-app"


@pytest.fixture
async def worker(
    kafka: str, engine: AsyncEngine, payments: PayingProcess, wallet: Wallet, tmp_path: Path
) -> AsyncIterator[CommandWorker]:
    """A worker beside the HTTP door, and money in a wallet. The relay stands still unless a test runs it."""
    await fund_wallet(engine, 100_000)
    async with working(kafka, payments, engine, tmp_path) as made:
        yield made


@pytest.fixture
async def relay(database: Database, kafka: str) -> AsyncIterator[Relay]:
    made = Relay(database.billing_url, "billing", kafka)
    yield made
    await made.close()


async def promised(wallet: Wallet, engine: AsyncEngine) -> UUID:
    """A payment that the door has promised and nobody has accepted."""
    return UUID((await wallet.pay(await make_bill(engine))).json()["id"])


async def commands(engine: AsyncEngine, payment: UUID) -> list[tuple[str, str, int]]:
    """The commands about a payment in the outbox, in their order: type, ce_id and sequence."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT type, CAST(event_id AS text), sequence FROM outbox"
                " WHERE topic = 3 AND key = :key ORDER BY id"
            ),
            {"key": str(payment)},
        )
        return [(row[0].removesuffix(".v1"), row[1], row[2]) for row in rows]


async def test_the_door_promises_the_refund_of_a_promised_payment(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet, stranger: Wallet
) -> None:
    await fund_wallet(engine, 10_000)
    id = await promised(wallet, engine)
    path = f"/v1/payments/{id}/refunds"
    problem(await stranger.post(path, {}), 404, "not-found")
    problem(await wallet.post(path, {"amount_minor": 8_851}), 422, "more-than-is-left")
    answer = await wallet.post(path, {"amount_minor": 850}, "key-1")
    assert answer.status_code == 202, answer.text
    assert (await wallet.post(path, {"amount_minor": 850}, "key-1")).json() == answer.json()
    seen = (await wallet.get(answer.json()["url"])).json()
    assert (seen["status"], seen["amount_minor"], seen["currency"]) == ("processing", 850, "CNY")
    problem(await stranger.get(answer.json()["url"]), 404, "not-found")
    assert await deliver(engine, payments) == []
    assert (await wallet.get(answer.json()["url"])).json()["status"] == "succeeded"
    assert (await wallet.get(f"/v1/payments/{id}")).json()["refunded_minor"] == 850
    await books.audit(engine)


async def test_a_refund_without_an_amount_gives_all_of_the_promise_back(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    await fund_wallet(engine, 10_000)
    id = await promised(wallet, engine)
    refund = (await wallet.post(f"/v1/payments/{id}/refunds", {})).json()
    assert (await wallet.get(refund["url"])).json()["amount_minor"] == 8_850
    await deliver(engine, payments)
    assert (await wallet.get(f"/v1/payments/{id}")).json()["status"] == "refunded"


async def test_the_refund_of_a_promise_that_is_rejected_fails(
    engine: AsyncEngine, payments: PayingProcess, wallet: Wallet
) -> None:
    id = await promised(wallet, engine)  # the wallet is empty
    refund = (await wallet.post(f"/v1/payments/{id}/refunds", {})).json()
    assert await deliver(engine, payments) == []
    seen = (await wallet.get(refund["url"])).json()
    assert (seen["status"], seen["reason"]) == ("failed", "not_succeeded")
    assert await books.events(engine, id) == ["PaymentFailed", "RefundFailed"]


@pytest.mark.parametrize("spelled", [str, lambda id: str(id).upper()], ids=["same key", "capitals"])
async def test_a_refund_that_overtakes_the_payment_is_brought_behind_it(
    worker: CommandWorker,
    engine: AsyncEngine,
    wallet: Wallet,
    relay: Relay,
    spelled: Callable[[UUID], str],
) -> None:
    id = await promised(wallet, engine)
    key = await make_signing_key(engine, CHANNEL)
    refund = refund_payment(id, 850).command
    record = signed(refund, key, correlation_id="of-the-refund")
    record = copied(record.with_fields(key=spelled(id).encode()), SigningKey(key))
    await send(worker.kafka, record)

    async def written_again() -> bool:
        return len(await commands(engine, id)) == 2

    await until(written_again, "the refund is in the outbox, too")
    pay, again = await commands(engine, id)
    assert (pay[0], again[0], again[2]) == ("PayBill", "RefundPayment", 2)
    assert again[1] == dict(record.headers)["ce_id"].decode(), "it is the same command"
    await relay.run_once()

    async def refunded() -> bool:
        async with engine.connect() as connection:
            found = await connection.execute(text("SELECT state FROM refunds"))
            return list(found.scalars()) == ["succeeded"]

    await until(refunded, "the refund has succeeded")
    assert (await books.refund(engine, refund.refund_id))["correlation_id"] == "of-the-refund"
    assert await worker.dead() == {}
    assert len(await commands(engine, id)) == 2
    await books.audit(engine)


async def test_a_refund_goes_round_once_when_the_payments_command_is_lost(
    worker: CommandWorker,
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    wallet: Wallet,
    relay: Relay,
) -> None:
    id = await promised(wallet, engine)
    async with owner_engine.begin() as connection:
        await connection.execute(text("DELETE FROM outbox WHERE topic = 3"))
    record = signed(refund_payment(id).command, await make_signing_key(engine, CHANNEL))
    await send(worker.kafka, record)

    async def written_again() -> bool:
        return len(await commands(engine, id)) == 1

    await until(written_again, "the refund is written again")
    await relay.run_once()
    ce_id = dict(record.headers)["ce_id"]

    async def buried() -> bool:
        return ce_id in await worker.dead()

    await until(buried, "it is a dead letter")
    assert (await worker.dead())[ce_id][0] == "payment_not_accepted"
    assert [each[0] for each in await commands(engine, id)] == ["RefundPayment"], "no third time"


async def test_the_refund_of_a_dead_promise_is_refused_and_seen(
    worker: CommandWorker, engine: AsyncEngine, wallet: Wallet, stranger: Wallet, relay: Relay
) -> None:
    """Another channel has used the id before. A refund that was promised before that shows fails with its reason."""
    await fund_wallet(engine, 10_000, channel=STRANGER)
    id = await promised(wallet, engine)
    refund = (await wallet.post(f"/v1/payments/{id}/refunds", {})).json()
    theirs = pay_bill(await make_bill(engine), payment_id=id, channel=STRANGER).command
    await worker.pays(signed(theirs, await make_signing_key(engine, STRANGER)))

    async def failed() -> bool:
        await relay.run_once()
        return bool((await wallet.get(refund["url"])).json()["status"] == "failed")

    await until(failed, "the refund has failed")
    seen = (await wallet.get(refund["url"])).json()
    assert (seen["reason"], seen["amount_minor"]) == ("payment_not_accepted", 8_850)
    assert seen["finished_at"]
    problem(await wallet.post(f"/v1/payments/{id}/refunds", {}), 409, "not-refundable")
    key = await make_signing_key(engine, CHANNEL)
    late = signed(refund_payment(id).command, key)
    assert await worker.refusals(late) == ["payment_not_accepted"]
    assert (await stranger.get(f"/v1/payments/{id}")).json()["status"] == "succeeded"
    await books.audit(engine)


async def test_another_channels_promise_is_unknown(
    worker: CommandWorker, engine: AsyncEngine, wallet: Wallet
) -> None:
    await make_channel(engine, STRANGER)
    id = await promised(wallet, engine)
    theirs = signed(
        refund_payment(id, channel=STRANGER).command, await make_signing_key(engine, STRANGER)
    )
    own = await make_signing_key(engine, CHANNEL)
    nobodys = signed(refund_payment(uuid4()).command, own)
    assert await worker.refusals(theirs, nobodys) == ["payment_unknown"] * 2
    assert [each[0] for each in await commands(engine, id)] == ["PayBill"]
