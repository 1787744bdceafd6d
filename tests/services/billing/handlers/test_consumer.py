"""Kafka in: a mixed batch, redelivered at will; what can't be carried out is rejected at its own message."""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing.door.unkept import Promises
from tests.services.billing.door.web import message
from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.support.commands import DOOR_KEY
from tests.support.errands import PayingProcess
from tests.support.factories import (
    fund_wallet,
    make_bill,
    make_biller,
    pay_bill,
    refund_payment,
    top_up_wallet,
)


async def test_a_mixed_batch_delivered_three_times_is_carried_out_once(city: City) -> None:
    await fund_wallet(city.engine, 10_000)
    paid = pay_bill(await city.bill("lz-water")).command
    by_card = pay_bill(await city.bill(), method="pm_card_visa").command
    top_up = top_up_wallet(payer="payer-2").command
    refund = refund_payment(paid.payment_id, 850).command
    batch = [message(each) for each in (refund, top_up, paid, by_card, paid)]
    for _ in range(3):
        assert await city.payments.handle_commands(Promises(city.engine, DOOR_KEY), batch) == []
        await city.payments.drain()
    await city.settle()
    await city.agree(by_card.payment_id)
    row = await books.payment(city.engine, paid.payment_id)
    assert (row["state"], row["refunded_minor"]) == ("partially_refunded", 850)
    assert await books.balance(city.engine, "wallet:city-app:payer-2") == (10_000, 0)
    await books.audit(city.engine)


async def test_only_the_message_that_reuses_an_id_is_rejected(
    engine: AsyncEngine, payments: PayingProcess
) -> None:
    await make_biller(engine)
    await fund_wallet(engine, 50_000)
    first = pay_bill(await make_bill(engine)).command
    other = pay_bill(await make_bill(engine), payment_id=first.payment_id).command
    lost = refund_payment(uuid7()).command
    batch = [message(each) for each in (first, other, lost, first)]
    refused = await payments.handle_commands(Promises(engine, DOOR_KEY), batch)
    assert [(each.message, each.reason) for each in refused] == [
        (batch[1], "id_reused"),
        (batch[2], "payment_unknown"),
    ]
    assert (await books.payment(engine, first.payment_id))["bill_id"] == first.bill_id


async def test_the_correlation_follows_from_the_command_to_every_event(city: City) -> None:
    command = pay_bill(await city.bill(), method="pm_card_visa").command
    await city.payments.handle_commands(
        Promises(city.engine, DOOR_KEY), [message(command, "request-7")]
    )
    await city.settle()
    async with city.engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT DISTINCT correlation_id FROM outbox WHERE key = :key"),
            {"key": str(command.payment_id)},
        )
        assert list(rows.scalars()) == ["request-7"]
