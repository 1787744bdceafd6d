"""Refunds that need nobody outside: never more than was taken, by whomever it is asked, however often."""

import asyncio
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from tests.services.billing.payments import books
from tests.support.errands import PayingProcess
from tests.support.factories import (
    fund_wallet,
    make_bill,
    make_biller,
    pay_bill,
    refund_payment,
)

WALLET = "wallet:city-app:payer-1"


async def paid_from_wallet(engine: AsyncEngine, payments: PayingProcess) -> UUID:
    """A payment from the wallet to a biller by file."""
    await make_biller(engine)
    await fund_wallet(engine, 10_000)
    requested = pay_bill(await make_bill(engine))
    await payments.pay([requested])
    return requested.command.payment_id


async def test_all_of_it_goes_back_to_the_wallet(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    id = await paid_from_wallet(engine, payments)
    requested = refund_payment(id)
    assert await payments.refund([requested, requested]) == {}
    assert await payments.refund([requested]) == {}
    await payments.drain()
    row = await books.payment(engine, id)
    assert (row["state"], row["refunded_minor"]) == ("refunded", 8_850)
    assert await books.balance(engine, WALLET) == (10_000, 0)
    assert await books.balance(engine, "biller:power:payable") == (0, 0)
    assert await books.events(engine, id) == ["PaymentSucceeded", "PaymentRefunded"]
    assert await books.receipt_events(engine, id) == ["ReceiptIssued", "ReceiptVoided"]
    assert not await books.has_receipt(engine, id)
    await books.audit(engine)


async def test_parts_add_up_and_the_last_one_completes(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    id = await paid_from_wallet(engine, payments)
    await payments.refund([refund_payment(id, 1_000), refund_payment(id, 2_000)])
    await payments.drain()
    row = await books.payment(engine, id)
    assert (row["state"], row["refunded_minor"]) == ("partially_refunded", 3_000)
    assert await books.has_receipt(engine, id)
    await payments.refund([refund_payment(id)])
    await payments.drain()
    assert (await books.payment(engine, id))["state"] == "refunded"
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT convert_from(payload, 'UTF8')::jsonb ->> 'refunded_minor' FROM outbox
                WHERE type LIKE 'PaymentRefunded%' ORDER BY sequence
            """)
        )
    assert [int(each) for each in rows.scalars()] == [1_000, 3_000, 8_850]
    assert await books.balance(engine, WALLET) == (10_000, 0)
    await books.audit(engine)


@pytest.mark.parametrize("amount_minor", [8_851, 2**53 - 1])
async def test_more_than_was_taken_fails_and_moves_nothing(
    engine: AsyncEngine, payments: PayingProcess, amount_minor: int
) -> None:
    id = await paid_from_wallet(engine, payments)
    requested = refund_payment(id, amount_minor)
    assert await payments.refund([requested]) == {}
    row = await books.refund(engine, requested.command.refund_id)
    assert (row["state"], row["reason"]) == ("failed", "more_than_is_left")
    assert (await books.payment(engine, id))["state"] == "succeeded"
    assert await books.events(engine, id) == ["PaymentSucceeded", "RefundFailed"]
    await books.audit(engine)


@pytest.mark.parametrize(
    ("amount_minor", "reason"), [(None, "not_succeeded"), (5, "not_succeeded")]
)
async def test_a_payment_that_took_nothing_is_not_refunded(
    engine: AsyncEngine, payments: PayingProcess, amount_minor: int | None, reason: str
) -> None:
    await make_biller(engine)
    rejected = pay_bill(await make_bill(engine))
    await payments.pay([rejected])
    id = rejected.command.payment_id
    requested = refund_payment(id, amount_minor)
    assert await payments.refund([requested]) == {}
    assert (await books.refund(engine, requested.command.refund_id))["reason"] == reason
    assert (await books.payment(engine, id))["state"] == "rejected"
    assert await books.events(engine, id) == ["PaymentFailed", "RefundFailed"]
    await books.audit(engine)


async def test_what_cannot_be_kept_says_why_at_its_position(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    id = await paid_from_wallet(engine, payments)
    first = refund_payment(id, 100)
    other = refund_payment(id, 200, refund_id=first.command.refund_id)
    foreign = refund_payment(id, channel="other-app")
    unknown = refund_payment(uuid7())
    wrong = await payments.refund([first, other, foreign, unknown, first])
    assert wrong == {1: "refund_id_reused", 2: "payment_unknown", 3: "payment_unknown"}
    assert await payments.refund([other]) == {0: "refund_id_reused"}
    await payments.drain()
    assert (await books.payment(engine, id))["refunded_minor"] == 100
    await books.audit(engine)


async def test_sixteen_at_once_never_give_back_more_than_was_taken(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    id = await paid_from_wallet(engine, payments)
    batches = [[refund_payment(id, 1_000)] for _ in range(16)]
    await asyncio.gather(*(payments.refund(batch) for batch in batches))
    await payments.drain()
    states = [
        (await books.refund(engine, batch[0].command.refund_id))["state"] for batch in batches
    ]
    assert sorted(states) == ["failed"] * 8 + ["succeeded"] * 8
    assert await books.balance(engine, WALLET) == (1_150 + 8_000, 0)
    await books.audit(engine)


async def test_the_check_refuses_more_than_was_taken_whoever_writes_it(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await paid_from_wallet(engine, payments)
    for change in ("refunded_minor = 8851", "refund_pending_minor = 8851", "refunded_minor = -1"):
        with pytest.raises(IntegrityError, match="refunds_within_capture"):
            async with engine.begin() as connection:
                await connection.execute(text(f"UPDATE payments SET {change}"))
