"""Commands through Kafka: one that its channel has not signed moves no money and becomes a dead letter."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.bills import LookUpBills
from events.ids import uuid7
from events.payments import PayBill, RefundPayment
from events.signature import HEADER, SigningKey
from events.topics import LOOKUP_COMMANDS, PAYMENT_COMMANDS, PAYMENT_GROUP
from messaging.consumer import metrics
from messaging.consumer.batches import ATTEMPTS
from messaging.relay import Relay
from services.billing.channels import Trust, revoke_signing_key
from tests.services.billing.door.web import Wallet, serve
from tests.services.billing.handlers.command_worker import (
    CommandWorker,
    copied,
    fresh,
    stops,
    twice,
    until,
    working,
)
from tests.services.billing.payments import books
from tests.support.commands import (
    TRUST,
    make_signing_key,
    send,
    signature_of,
    signed,
)
from tests.support.databases import Database
from tests.support.errands import PayingProcess
from tests.support.factories import (
    CHANNEL,
    fund_wallet,
    make_account,
    make_bill,
    make_biller,
    make_channel,
    pay_bill,
    refund_payment,
    top_up_wallet,
)

STRANGER = "other-app"
WALLET = f"wallet:{CHANNEL}:payer-1"


@pytest.fixture
async def worker(
    kafka: str, engine: AsyncEngine, payments: PayingProcess, tmp_path: Path
) -> AsyncIterator[CommandWorker]:
    """A worker, two channels (one with money in a wallet), and a biller that settles by file."""
    await make_biller(engine)
    await make_channel(engine, STRANGER)
    await fund_wallet(engine, 1_000_000)
    async with working(kafka, payments, engine, tmp_path) as made:
        yield made


async def test_only_the_channel_itself_spends_its_wallets(
    worker: CommandWorker, engine: AsyncEngine
) -> None:
    own, strange = [await make_signing_key(engine, each) for each in (CHANNEL, STRANGER)]
    good = signed(pay_bill(await make_bill(engine)).command, own)
    await worker.pays(good)
    before = await books.balance(engine, WALLET)
    paid = UUID(good.key.decode())
    account = await make_account(engine)
    lookup = LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=account)
    payment, other = [pay_bill(await make_bill(engine)).command for _ in range(2)]
    dearer = payment.model_copy(update={"amount_minor": payment.amount_minor + 1})
    honest = signed(payment, own)
    reasons = {
        "unsigned": [
            signed(payment, None),
            signed(refund_payment(paid).command, None),
            signed(top_up_wallet().command, None),
            signed(lookup, None),
        ],
        "wrong_channel": [
            signed(payment, strange),
            signed(refund_payment(paid).command, strange),
            signed(top_up_wallet().command, strange),
            signed(lookup, strange),
        ],
        "bad_signature": [
            copied(honest, SigningKey(own)).with_fields(value=dearer.model_dump_json().encode()),
            copied(honest, SigningKey(own)).with_fields(value=honest.value + b" "),
            # The record of another payment with the signature of an honest one.
            signed(other, own).with_header(HEADER, signature_of(honest)),
            # A key that was never issued, one of another installation, one with another id.
            signed(payment, "mhs_00000000_c2VjcmV0"),
            signed(payment, own[:-1]),
            signed(payment, own.replace(SigningKey(own).id, SigningKey(strange).id)),
            signed(payment, "mhs_door_c2VjcmV0"),
        ],
    }
    sent = [each for records in reasons.values() for each in records]
    expected = [reason for reason, records in reasons.items() for _ in records]
    assert await worker.refusals(*sent) == expected
    assert await worker.states() == {paid: "succeeded"}
    assert await books.balance(engine, WALLET) == before
    assert [await worker.count(each) for each in ("refunds", "lookups")] == [0, 0]
    # What was refused has used up nothing: the same command, signed as it should be, is carried out.
    await worker.pays(honest)
    await books.audit(engine)


async def test_a_signature_is_of_one_topic_type_key_and_id(
    worker: CommandWorker, engine: AsyncEngine
) -> None:
    own = SigningKey(await make_signing_key(engine, CHANNEL))
    command = pay_bill(await make_bill(engine)).command
    honest = signed(command, None)
    # A value that is a payment and a refund, whichever it is taken for.
    both = command.model_dump(mode="json") | {"refund_id": str(uuid7())}
    ambiguous = json.dumps(both).encode()
    refund = RefundPayment.ce_type()
    refused = [
        copied(honest, own, topic=LOOKUP_COMMANDS.name),
        copied(honest.with_fields(value=ambiguous), own).with_header("ce_type", refund.encode()),
        copied(honest, own, key=str(uuid7())),
        copied(honest, own, ce_id=str(uuid7())),
        # Twice the same header says two things; the last one is what a consumer would act on.
        copied(honest, own).with_header("ce_type", refund.encode(), PayBill.ce_type().encode()),
        twice(copied(honest, own), HEADER),
    ]
    assert await worker.refusals(*refused) == ["bad_signature"] * len(refused)
    # These are against the contract, whoever has signed them.
    elsewhere = copied(honest, own).with_fields(topic=LOOKUP_COMMANDS.name)
    misplaced = copied(honest, own).with_fields(key=str(uuid7()).encode())
    assert await worker.refusals(elsewhere, misplaced) == ["unknown_type", "bad_key"]
    # A line feed in an id, which Python's UUID() reads over.
    torn = b"\n" + uuid7().hex[1:].encode()
    header = b"k=door,v1=" + b"0" * 64
    refused = [
        fresh(honest, torn).with_header(HEADER, header),
        fresh(honest).with_fields(key=torn).with_header(HEADER, header),
    ]
    assert await worker.refusals(*refused) == ["bad_id", "bad_key"]
    assert await worker.states() == {}
    # An id means the same in capitals; what is signed is the key as it is sent.
    capitals = honest.with_fields(key=honest.key.upper())
    assert await worker.refusals(copied(honest, own).with_fields(key=capitals.key)) == [
        "bad_signature"
    ]
    await worker.pays(copied(capitals, own))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff\xfe\x00",
        b"k=a,v1=" + b"g" * 64,
        b"x" * 50_000,
        b"k=door,v1=" + b"0" * 64 + b"\n",
    ],
    ids=["empty", "not text", "not hex", "huge", "too long"],
)
async def test_a_malformed_header_is_refused(
    worker: CommandWorker, engine: AsyncEngine, header: bytes
) -> None:
    record = signed(pay_bill(await make_bill(engine)).command, None).with_header(HEADER, header)
    assert await worker.refusals(record) == ["bad_signature"]
    assert await worker.states() == {}


async def test_keys_are_rotated_and_a_revoked_key_stops_within_two_seconds(
    worker: CommandWorker, engine: AsyncEngine
) -> None:
    old = await make_signing_key(engine, CHANNEL)
    bills = [await make_bill(engine) for _ in range(3)]
    await worker.pays(signed(pay_bill(bills[0]).command, old))
    new = await make_signing_key(engine, CHANNEL)
    # The new one at once, and the old one still.
    await worker.pays(
        signed(pay_bill(bills[1]).command, new), signed(pay_bill(bills[2]).command, old)
    )
    async with engine.begin() as connection:
        assert await revoke_signing_key(connection, old) == CHANNEL
    await stops(worker, old)
    await worker.pays(signed(pay_bill(await make_bill(engine)).command, new))


async def test_the_keys_of_a_closed_channel_open_nothing(
    worker: CommandWorker, engine: AsyncEngine
) -> None:
    key = await make_signing_key(engine, CHANNEL)
    await worker.pays(signed(pay_bill(await make_bill(engine)).command, key))
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE channels SET active = false"))
    await stops(worker, key)


async def test_only_a_trusted_topic_accepts_unsigned_commands(
    kafka: str, engine: AsyncEngine, payments: PayingProcess, tmp_path: Path
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 50_000)
    trust = Trust(TRUST.secret, frozenset({PAYMENT_COMMANDS.name}))
    async with working(kafka, payments, engine, tmp_path, trust) as worker:
        wrong = signed(pay_bill(await make_bill(engine)).command, "mhs_00000000_c2VjcmV0")
        await worker.pays(signed(pay_bill(await make_bill(engine)).command, None), wrong)
        lookup = LookUpBills(
            lookup_id=uuid7(), channel=CHANNEL, account_id=await make_account(engine)
        )
        assert await worker.refusals(signed(lookup, None)) == ["unsigned"]


async def test_promises_of_the_http_door_are_carried_out(
    worker: CommandWorker, engine: AsyncEngine, database: Database
) -> None:
    key = await make_channel(engine, "third-app")
    await fund_wallet(engine, 50_000, channel="third-app")
    relay = Relay(database.billing_url, "billing", worker.kafka)
    async with serve(engine) as url:
        wallet = Wallet(url, key)
        paid = UUID((await wallet.pay(await make_bill(engine))).json()["id"])
        await relay.run_once()

        async def succeeded() -> bool:
            return (await worker.states()).get(paid) == "succeeded"

        await until(succeeded, "the payment has succeeded")
        refund = await wallet.post(f"/v1/payments/{paid}/refunds", {})
        assert refund.status_code == 202, refund.text
        top_up = {"payer": "p", "amount_minor": 100, "currency": "CNY", "payment_method": "pm_x"}
        assert (await wallet.post("/v1/top-ups", top_up)).status_code == 202
        account = {"biller_id": "power", "account_number": "10000001"}
        assert (await wallet.post("/v1/lookups", account)).status_code == 202
        await relay.run_once()

        async def all_there() -> bool:
            async with engine.connect() as connection:
                looked_up = await connection.scalar(
                    text("SELECT count(*) FROM lookups WHERE state <> 'pending'")
                )
            rows = [await worker.count(each) for each in ("refunds", "top_ups")]
            return (looked_up, *rows) == (1, 1, 2 + 1)

        await until(all_there, "refund, top-up and lookup are carried out")
        await wallet.client.aclose()
    await relay.close()


async def test_when_the_keys_can_not_be_read_the_commands_wait(
    worker: CommandWorker, engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    record = signed(
        pay_bill(await make_bill(engine)).command, await make_signing_key(engine, CHANNEL)
    )
    failures = metrics.FAILURES.labels(PAYMENT_COMMANDS.name, PAYMENT_GROUP, "KeysUnreadableError")
    before = failures._value.get()
    async with owner_engine.begin() as connection:
        await connection.execute(text("ALTER TABLE signing_keys RENAME TO away"))
    await send(worker.kafka, record)

    async def tried_again() -> bool:
        return bool(failures._value.get() >= before + ATTEMPTS + 1)

    await until(tried_again, "the batch is tried again, oftener than a record at fault would be")
    assert (await worker.dead(), await worker.states()) == ({}, {})
    async with owner_engine.begin() as connection:
        await connection.execute(text("ALTER TABLE away RENAME TO signing_keys"))
    await worker.pays(record)
