"""A day of real payments, through the use cases and over the network: afterwards all three books agree."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import UUID

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.china import today
from events.ids import uuid7
from services.billing.audit import audit_database
from services.billing.payments.model import serial_of
from services.billing.psp import Authorized
from services.billing.reconciliation import (
    Source,
    import_billers,
    import_psp,
    reconcile,
)
from services.billing.reconciliation.lines import PSP
from services.billing.refunds import stuck
from tests.services.billing.late import late_reports as late
from tests.services.billing.payments import books as of_payments
from tests.services.billing.payments.city import BILLER, City, city_between
from tests.services.billing.reconciliation import books
from tests.support.billers import SandboxBillers
from tests.support.factories import pay_bill, refund_payment, top_up_wallet
from tests.support.psp import SandboxPsp


@pytest.fixture
async def city(
    engine: AsyncEngine, owner_engine: AsyncEngine, scratch: Path
) -> AsyncIterator[City]:
    """A process between a PSP and billers of this test's own, whose books hold nothing else."""
    folder = scratch / f"city-{uuid7().hex}"
    with SandboxPsp(folder / "psp") as psp, SandboxBillers(folder / "billers") as billers:
        async with city_between(
            engine, owner_engine, psp, billers, billers.data_dir, timeout_seconds=5.0
        ) as city:
            yield city


async def refund(city: City, payment_id: UUID, amount_minor: int | None = None) -> None:
    assert await city.payments.refund([refund_payment(payment_id, amount_minor)]) == {}
    await city.payments.drain()


async def test_after_a_day_of_payments_all_books_agree(city: City) -> None:
    await city.payments.top_up([top_up_wallet(50_000)])
    await city.payments.drain()
    paid = [
        (await city.pay(pay_bill(await city.bill(), method=method)))["id"]
        for method in ("pm_card_visa", "pm_card_visa", "pm_card_visa", None)
    ]
    await refund(city, paid[0])
    await refund(city, paid[1], 850)
    await refund(city, paid[2], 850)
    await refund(city, paid[2])
    # A payment that was declined has no line in any book.
    declined = await city.pay(pay_bill(await city.bill(), method="pm_card_chargeDeclined"))
    assert declined["state"] == "declined"
    # The PSP captures and the answer is lost: unknown to us when the statements come.
    city.psp.add_fault("capture", "timeout_after", seconds=1)
    unknown = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    assert unknown["unknown_leg"] == "capture"
    city.psp.pay_out()

    day = today()
    await import_psp(city.engine, city.client, day)
    await import_billers(city.engine, city.connectors, day, [BILLER])
    assert not (await reconcile(city.engine, day)).agrees
    assert await books.open_breaks(city.engine) == [
        ("missing_internal", "apply", serial_of(unknown["id"])),
        ("missing_internal", "charge", str(unknown["id"])),
    ]

    await city.settle()
    found = await reconcile(city.engine, day)
    assert found.agrees
    of_psp, of_biller = found.sources
    assert (of_psp.source, of_biller.source) == (PSP, Source("biller", BILLER))
    # Five charges with their fees, four refunds, the payout; five applies, two unapplies.
    assert (of_psp.lines, of_psp.matched, of_psp.transfers) == (15, 15, 15)
    assert (of_biller.lines, of_biller.matched) == (7, 7)
    assert await audit_database(city.engine) == []


async def test_a_day_of_declines_and_late_psp_results_has_no_breaks(city: City) -> None:
    """Money after the end, refunds that fail, once and for good, and what operators do about them."""
    # A payer who was declined, and tries again: once it is only held, once somebody takes it.
    for taken in (False, True):
        declined = await city.pay(pay_bill(await city.bill(), method=late.DECLINES))
        city.psp.confirm(declined["psp_intent_id"])
        if taken:
            path = f"/v1/payment_intents/{declined['psp_intent_id']}/capture"
            city.psp.call("POST", path)
        await late.report_intent(city, declined["psp_intent_id"])
    requested = top_up_wallet(5_000, method=late.DECLINES)
    await city.payments.top_up([requested])
    await city.payments.drain()
    topped = await of_payments.top_up(city.engine, requested.command.top_up_id)
    city.psp.confirm(topped["psp_intent_id"])
    await late.report_intent(city, topped["psp_intent_id"])
    # Captured after we had given up, without a webhook (undo.py).
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    held = await city.client.authorize(payment.charge)
    assert isinstance(held, Authorized)
    intent_id = held.intent_id
    await city.client.capture(intent_id, payment.subject, payment.amount_minor, "CNY")
    await city.undo_with_lost_void(payment, intent_id)
    # One refund fails after it had succeeded, one twice before it succeeds, one for good.
    paid = [
        (await city.pay(pay_bill(await city.bill(), method=method)))["id"]
        for method in ("pm_card_visa", "pm_card_pendingRefund", "pm_card_pendingRefund")
    ]
    commands = [refund_payment(id) for id in paid]
    await city.payments.refund(commands)
    await city.payments.drain()
    ids = [each.command.refund_id for each in commands]
    for number, id in enumerate(ids):
        row = await of_payments.refund(city.engine, id)
        city.psp.settle_refund(row["psp_refund_id"], "failed")
        await late.report_refund(city, row["psp_refund_id"])
        await city.settle(rounds=3)
        if number == 1:
            async with city.engine.begin() as connection:
                await stuck.retry(connection, id)
            await city.settle(rounds=2)
            again = await of_payments.refund(city.engine, id)
            city.psp.settle_refund(again["psp_refund_id"], "succeeded")
        if number == 2:
            await stuck.to_wallet(city.engine, city.client, id)
    await city.settle()

    day = today()
    await import_psp(city.engine, city.client, day)
    await import_billers(city.engine, city.connectors, day, [BILLER])
    found = await reconcile(city.engine, day)
    assert await books.open_breaks(city.engine) == []
    assert found.agrees
    of_psp = found.sources[0]
    # Six charges with their fees; the three late ones went back. Four refunds, of which three failed.
    assert (of_psp.lines, of_psp.matched) == (22, 22)
    assert await audit_database(city.engine) == []
    due_minor = city.psp.call("GET", "/v1/balance")["available"][0]["amount"]
    clearing = await of_payments.balance(city.engine, late.CLEARING)
    assert clearing == (-due_minor, 0), "what the PSP owes us is what our book says"
