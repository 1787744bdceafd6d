"""Accept: what is checked, what is kept, what is finished at once."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Booking
from events.ids import uuid7
from services.billing.instruction import Instruction
from services.billing.payments.accept import accept
from tests.services.billing.payments import books
from tests.support.errands import PayingProcess, institutions
from tests.support.factories import (
    fund_wallet,
    make_bill,
    make_biller,
    make_channel,
    pay_bill,
)

WALLET = "wallet:city-app:payer-1"
PAYABLE = "biller:power:payable"


async def paid(engine: AsyncEngine, payments: PayingProcess, *batch: Instruction[Any]) -> list[str]:
    """Pay them in one batch; the states that they came to, in order."""
    await payments.pay(batch)
    return [(await books.payment(engine, each.command.payment_id))["state"] for each in batch]


async def test_paid_from_the_wallet_to_a_biller_by_file_it_is_finished_in_one_transaction(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 10_000)
    requested = pay_bill(await make_bill(engine))
    async with engine.begin() as connection:
        accepted = await accept(connection, [requested], Booking(institutions()))
    assert not accepted.held
    id = requested.command.payment_id
    row = await books.payment(engine, id)
    assert (row["state"], row["captured_minor"], row["leg"]) == ("succeeded", 8_850, None)
    assert await books.events(engine, id) == ["PaymentSucceeded"]
    assert await books.receipt_events(engine, id) == ["ReceiptIssued"]
    assert await books.has_receipt(engine, id)
    assert await books.balance(engine, WALLET) == (1_150, 0)
    assert await books.balance(engine, PAYABLE) == (8_850, 0)
    await books.audit(engine)


async def test_the_same_command_again_changes_nothing(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 20_000)
    requested = pay_bill(await make_bill(engine))
    assert await payments.pay([requested, requested]) == []
    assert await payments.pay([requested]) == []
    assert await payments.pay([requested, requested, requested]) == []
    assert await books.balance(engine, WALLET) == (11_150, 0)
    assert await books.events(engine, requested.command.payment_id) == ["PaymentSucceeded"]
    await books.audit(engine)


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_an_id_with_other_content_is_reused_and_only_that_one(
    engine: AsyncEngine, payments: PayingProcess, in_one_batch: bool
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 50_000)
    first = pay_bill(await make_bill(engine))
    other = pay_bill(await make_bill(engine), payment_id=first.command.payment_id)
    third = pay_bill(await make_bill(engine))
    if in_one_batch:
        assert await payments.pay([first, other, first, third]) == [1]
    else:
        await payments.pay([first])
        assert await payments.pay([third, other]) == [1]
    row = await books.payment(engine, first.command.payment_id)
    assert row["bill_id"] == first.command.bill_id
    assert await books.balance(engine, WALLET) == (50_000 - 2 * 8_850, 0)
    await books.audit(engine)


async def test_a_wallet_pays_what_it_can_in_the_order_of_the_batch(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 250)
    bills = [await make_bill(engine, amount_minor=amount) for amount in (100, 200, 150, 1)]
    amounts = (100, 200, 150, 1)
    batch = [
        pay_bill(bill, amount_minor=amount) for bill, amount in zip(bills, amounts, strict=True)
    ]
    assert await paid(engine, payments, *batch) == [
        "succeeded",
        "rejected",
        "succeeded",
        "rejected",
    ]
    short = await books.payment(engine, batch[1].command.payment_id)
    assert short["reason"] == "insufficient_funds"
    assert await books.events(engine, batch[1].command.payment_id) == ["PaymentFailed"]
    assert await books.balance(engine, WALLET) == (0, 0)
    # The bill is free again, and can be paid by whoever has the money.
    await fund_wallet(engine, 200, payer="payer-2")
    second = pay_bill(bills[1], amount_minor=200, payer="payer-2")
    assert await paid(engine, payments, second) == ["succeeded"]
    await books.audit(engine)


async def test_held_money_is_not_spent_twice(engine: AsyncEngine, payments: PayingProcess) -> None:
    await make_biller(engine, "called", settled_by="call", dialect="json", url="http://127.0.0.1:9")
    await make_biller(engine)
    await fund_wallet(engine, 10_000)
    held = pay_bill(await make_bill(engine, "called"))
    other = pay_bill(await make_bill(engine))
    async with engine.begin() as connection:
        accepted = await accept(connection, [held, other], Booking(institutions()))
    assert [each.id for each in accepted.held] == [held.command.payment_id]
    assert await books.balance(engine, WALLET) == (10_000, 8_850)
    assert (await books.payment(engine, other.command.payment_id))["state"] == "rejected"
    assert await books.events(engine, held.command.payment_id) == ["PaymentAccepted"]
    await books.audit(engine)


@pytest.mark.parametrize(
    ("bill", "command", "reason"),
    [
        ({"expires_in": timedelta(seconds=-1)}, {}, "bill_expired"),
        ({"closed": True}, {}, "bill_closed"),
        ({}, {"amount_minor": 8_849}, "amount_not_allowed"),
        ({}, {"currency": "USD"}, "currency_mismatch"),
        ({}, {"channel": "nobody"}, "channel_unknown"),
        ({}, {"channel": "closed-app"}, "channel_unknown"),
        ({"rule": "any"}, {"amount_minor": 5_000_001}, "above_limit"),
        ({}, {"payer": "never-topped-up"}, "insufficient_funds"),
    ],
    ids=str,
)
async def test_what_is_refused_says_why_and_moves_nothing(
    engine: AsyncEngine,
    payments: PayingProcess,
    bill: dict[str, Any],
    command: dict[str, Any],
    reason: str,
) -> None:
    await make_biller(engine)
    await make_channel(engine, "closed-app")
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE channels SET active = false WHERE id = 'closed-app'"))
    await fund_wallet(engine, 10_000)
    requested = pay_bill(await make_bill(engine, **bill), **command)
    assert await paid(engine, payments, requested) == ["rejected"]
    assert (await books.payment(engine, requested.command.payment_id))["reason"] == reason
    assert await books.events(engine, requested.command.payment_id) == ["PaymentFailed"]
    assert await books.balance(engine, WALLET) == (10_000, 0)
    await books.audit(engine)


async def test_a_flood_of_unknown_bills_spoils_nothing_for_the_one_in_its_midst(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 10_000)
    good = pay_bill(await make_bill(engine))
    garbage = [pay_bill(uuid7(), channel=f"nobody-{n}", method="pm_x") for n in range(100)]
    garbage += [pay_bill(uuid7(), amount_minor=2**53 - 1) for _ in range(100)]
    states = await paid(engine, payments, *garbage[:100], good, *garbage[100:])
    assert states == ["rejected"] * 100 + ["succeeded"] + ["rejected"] * 100
    row = await books.payment(engine, garbage[-1].command.payment_id)
    assert (row["reason"], row["biller_id"], row["account_id"]) == ("bill_unknown", None, None)
    async with engine.connect() as connection:
        value = await connection.scalar(
            text("SELECT convert_from(payload, 'UTF8') FROM outbox WHERE key = :key"),
            {"key": str(row["id"])},
        )
    assert '"biller_id":null' in value
    await books.audit(engine)


async def test_a_bill_can_be_paid_after_a_payment_of_it_was_rejected(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    """A command that is known under its id must not make its bill look taken."""
    await make_biller(engine)
    bill = await make_bill(engine)
    poor = pay_bill(bill)
    assert await paid(engine, payments, poor) == ["rejected"]
    await fund_wallet(engine, 10_000)
    fresh = pay_bill(bill)
    assert await paid(engine, payments, poor, fresh) == ["rejected", "succeeded"]
    await books.audit(engine)


async def test_a_bill_is_paid_once_within_a_batch_and_afterwards(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 100_000)
    bill = await make_bill(engine)
    batch = [pay_bill(bill) for _ in range(3)]
    assert await paid(engine, payments, *batch) == ["succeeded", "rejected", "rejected"]
    late = pay_bill(bill)
    assert await paid(engine, payments, late) == ["rejected"]
    assert (await books.payment(engine, late.command.payment_id))["reason"] == "bill_already_paid"
    await books.audit(engine)


async def test_the_index_refuses_a_second_live_payment_of_a_bill_whoever_writes_it(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 10_000)
    requested = pay_bill(await make_bill(engine))
    await payments.pay([requested])
    with pytest.raises(IntegrityError, match="uq_payments_live_bill"):
        async with engine.begin() as connection:
            await connection.execute(
                text("""
                    INSERT INTO payments (id, channel_id, payer, bill_id, amount_minor, currency, funding,
                        request_hash, state, version)
                    SELECT gen_random_uuid(), channel_id, payer, bill_id, amount_minor, currency, funding,
                        request_hash, 'accepted', 1 FROM payments
                """)
            )
