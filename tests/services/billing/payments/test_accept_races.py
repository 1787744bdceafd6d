"""Accept by many workers at the same time."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

import services.billing.payments.accept as accepting
from errands import Booking
from services.billing.payments.accept import accept
from tests.services.billing.payments import books
from tests.support.errands import PayingProcess, institutions
from tests.support.factories import (
    fund_wallet,
    make_bill,
    make_biller,
    make_bills,
    make_channel,
    pay_bill,
)

PAYABLE = "biller:power:payable"


async def test_sixteen_racers_pay_one_bill_once(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await make_biller(engine)
    racers = [f"racer-{n}" for n in range(16)]
    for payer in racers:
        await fund_wallet(engine, 10_000, payer=payer)
    bill = await make_bill(engine)
    batches = [[pay_bill(bill, payer=payer)] for payer in racers]
    await asyncio.gather(*(payments.pay(batch) for batch in batches))
    rows = [await books.payment(engine, batch[0].command.payment_id) for batch in batches]
    assert sorted(row["state"] for row in rows) == ["rejected"] * 15 + ["succeeded"]
    assert {row["reason"] for row in rows if row["state"] == "rejected"} == {"bill_already_paid"}
    spent = [await books.balance(engine, f"wallet:city-app:{payer}") for payer in racers]
    assert sorted(spent) == [(1_150, 0)] + [(10_000, 0)] * 15
    await books.audit(engine)


async def test_the_same_batch_by_many_workers_at_once_is_accepted_once(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    """Same ids, same bills, same wallets, shuffled: no deadlock, no race that decides twice."""
    await make_biller(engine)
    payers = [f"p{n}" for n in range(4)]
    for payer in payers:
        await fund_wallet(engine, 100_000, payer=payer)
    bills = await make_bills(engine, 24)
    batch = [pay_bill(bill, payer=payers[n % 4]) for n, bill in enumerate(bills)]
    shuffled = [batch[n:] + batch[:n] for n in (0, 5, 11, 17, 20, 23)]
    results = await asyncio.gather(*(payments.pay(each) for each in shuffled))
    assert results == [[]] * 6
    assert await books.balance(engine, PAYABLE) == (24 * 8_850, 0)
    for payer in payers:
        left = await books.balance(engine, f"wallet:city-app:{payer}")
        assert left == (100_000 - 6 * 8_850, 0)
    await books.audit(engine)


async def test_the_loser_of_a_race_is_decided_again_with_its_money_free(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    """A lost race gives its money back to the batch: the next bill of the same wallet can be paid."""
    await make_biller(engine)
    await fund_wallet(engine, 8_850, payer="rival")
    await fund_wallet(engine, 8_850)
    contested, other = await make_bill(engine), await make_bill(engine)
    async with engine.connect() as rival:
        transaction = await rival.begin()
        await accept(rival, [pay_bill(contested, payer="rival")], Booking(institutions()))
        batch = [pay_bill(contested), pay_bill(other)]
        waiting = asyncio.create_task(payments.pay(batch))
        await blocked(engine)
        await transaction.commit()
    await waiting
    states = [(await books.payment(engine, each.command.payment_id))["state"] for each in batch]
    assert states == ["rejected", "succeeded"]
    await books.audit(engine)


async def test_a_wallet_spent_by_another_batch_meanwhile_is_not_overdrawn(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    """Wallets are locked last, so what was seen is looked at again: one of the two is refused, and nothing is lost."""
    await make_biller(engine)
    await fund_wallet(engine, 8_850)
    first, second = pay_bill(await make_bill(engine)), pay_bill(await make_bill(engine))
    async with engine.connect() as rival:
        transaction = await rival.begin()
        await accept(rival, [first], Booking(institutions()))
        waiting = asyncio.create_task(payments.pay([second]))
        await blocked(engine)
        await transaction.commit()
    await waiting
    row = await books.payment(engine, second.command.payment_id)
    assert (row["state"], row["reason"]) == ("rejected", "insufficient_funds")
    assert await books.balance(engine, "wallet:city-app:payer-1") == (0, 0)
    await books.audit(engine)


async def test_batches_of_the_same_wallets_wait_for_each_other_only_at_the_end(
    engine: AsyncEngine,
) -> None:
    """While one transaction has all of its payments and events written and its money not moved, another gets as far."""
    await make_channel(engine)
    await make_biller(engine)
    await fund_wallet(engine, 100_000)
    batches = [[pay_bill(bill)] for bill in await make_bills(engine, 2)]
    held = asyncio.Event()
    arrived: list[int] = []

    async def move_later(connection: AsyncConnection, payments: Sequence[Any], *rest: Any) -> None:
        arrived.append(len(payments))
        if len(arrived) == len(batches):
            held.set()
        await asyncio.wait_for(held.wait(), 20)
        await move(connection, payments, *rest)

    move = accepting._move_wallet_money
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(accepting, "_move_wallet_money", move_later)

        async def run(batch: Sequence[Any]) -> None:
            async with engine.begin() as connection:
                await accept(connection, batch, Booking(institutions()))

        await asyncio.gather(*(run(batch) for batch in batches))
    assert await books.balance(engine, PAYABLE) == (2 * 8_850, 0)
    await books.audit(engine)


async def blocked(engine: AsyncEngine) -> None:
    """Wait until a session waits for a lock."""
    for _ in range(500):
        async with engine.connect() as connection:
            waiting = await connection.scalar(
                text(
                    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                    " AND wait_event_type = 'Lock'"
                )
            )
        if waiting:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no session waits for a lock")
