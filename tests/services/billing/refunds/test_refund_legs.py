"""Refunds with the PSP and a biller: a bill is never refunded and still marked paid, whatever happens on the way."""

from typing import Any
from uuid import UUID

import pytest

from errands import Booking
from events.ids import uuid7
from services.billing.payments.record import record
from services.billing.refunds import Reversal
from services.billing.refunds.accept import accept_refunds
from services.billing.refunds.record import record_refunds
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.support.errands import institutions
from tests.support.factories import (
    fund_wallet,
    pay_bill,
    refund_payment,
)

WALLET = "wallet:city-app:payer-1"
PAYABLE = f"biller:{BILLER}:payable"
TROUBLE = ("timeout_before", "timeout_after", "error_500_after", "reset_after", "wrong_amount")


async def paid(city: City, method: str | None = "pm_card_visa") -> UUID:
    """A payment to a biller that is called."""
    await fund_wallet(city.engine, 10_000)
    row = await city.pay(pay_bill(await city.bill(), method=method))
    assert row["state"] == "succeeded"
    id: UUID = row["id"]
    return id


async def refund(city: City, payment_id: UUID, amount_minor: int | None = None) -> dict[str, Any]:
    """Refund, and wait for what came of the first attempt: the refund's row."""
    requested = refund_payment(payment_id, amount_minor)
    assert await city.payments.refund([requested]) == {}
    await city.payments.drain()
    return await books.refund(city.engine, requested.command.refund_id)


async def test_a_refund_of_an_open_payment_fails_and_the_payment_goes_on(city: City) -> None:
    """Its event takes the payment's next number, and the worker that has the payment in hand still records."""
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    progress = await city.run(payment)
    row = await refund(city, payment.id)
    assert (row["state"], row["reason"]) == ("failed", "not_succeeded")
    async with city.engine.begin() as connection:
        assert await record(connection, [progress]) == 1
    assert await books.events(city.engine, payment.id) == [
        "PaymentAccepted",
        "RefundFailed",
        "PaymentSucceeded",
    ]
    await city.agree(payment.id)


@pytest.mark.parametrize("method", ["pm_card_visa", None])
async def test_the_billers_mark_is_taken_back_before_the_money_goes_back(
    city: City, method: str | None
) -> None:
    id = await paid(city, method)
    assert (await refund(city, id))["state"] == "succeeded"
    assert city.applied(id) == ["apply", "unapply"]
    assert city.given_back_minor(id) == (8_850 if method else 0)
    assert await books.balance(city.engine, PAYABLE) == (0, 0)
    assert await books.balance(city.engine, WALLET) == (10_000, 0)
    await city.agree(id)


async def test_a_part_is_netted_and_the_mark_stays(city: City) -> None:
    id = await paid(city)
    assert (await refund(city, id, 850))["state"] == "succeeded"
    assert city.applied(id) == ["apply"]
    assert await books.balance(city.engine, PAYABLE) == (8_000, 0)
    await city.agree(id)


async def test_parts_at_once_complete_in_turn_and_the_last_one_asks_the_biller(city: City) -> None:
    id = await paid(city)
    batch = [refund_payment(id, 4_000), refund_payment(id, 4_850)]
    await city.payments.refund(batch)
    await city.payments.drain()
    second = await books.refund(city.engine, batch[1].command.refund_id)
    assert (second["state"], second["unknown_leg"]) == ("accepted", None), "it waits for its turn"
    assert city.applied(id) == ["apply"]
    await city.settle()
    assert (await books.payment(city.engine, id))["state"] == "refunded"
    assert city.applied(id) == ["apply", "unapply"]
    await city.agree(id)


async def test_when_the_first_part_fails_the_second_completes_nothing(city: City) -> None:
    id = await paid(city)
    batch = [refund_payment(id, 4_000), refund_payment(id, 4_850)]
    city.psp.add_fault("refund", "refuse")
    await city.payments.refund(batch)
    await city.settle()
    states = [(await books.refund(city.engine, each.command.refund_id))["state"] for each in batch]
    assert states == ["failed", "succeeded"]
    assert (await books.payment(city.engine, id))["state"] == "partially_refunded"
    assert city.applied(id) == ["apply"], "the rest is still paid"
    await city.agree(id)


async def test_a_biller_that_keeps_its_mark_keeps_the_money(city: City) -> None:
    id = await paid(city)
    city.billers.add_fault(BILLER, "unapply", "refuse", code="not_same_day")
    row = await refund(city, id)
    assert (row["state"], row["reason"]) == ("failed", "biller_refused:not_same_day")
    assert (await books.payment(city.engine, id))["state"] == "succeeded"
    assert city.given_back_minor(id) == 0
    await city.agree(id)
    assert (await refund(city, id))["state"] == "succeeded", "it may be tried again"
    await city.agree(id)


@pytest.mark.parametrize("kind", TROUBLE)
async def test_trouble_at_the_psp_is_waited_out(city: City, kind: str) -> None:
    id = await paid(city)
    city.psp.add_fault("refund", kind)
    row = await refund(city, id, 850)
    assert (row["state"], row["unknown_leg"]) == ("accepted", "refund")
    await city.settle()
    assert (await books.refund(city.engine, row["id"]))["state"] == "succeeded"
    assert city.given_back_minor(id) == 850
    await city.agree(id)


@pytest.mark.parametrize("kind", ["down", "timeout_after", "wrong_echo", "reset_before"])
async def test_trouble_at_the_biller_is_waited_out(city: City, kind: str) -> None:
    id = await paid(city)
    city.billers.add_fault(BILLER, "unapply", kind)
    row = await refund(city, id)
    assert (row["state"], row["unknown_leg"]) == ("accepted", "unapply")
    assert city.given_back_minor(id) == 0
    await city.settle()
    assert city.given_back_minor(id) == 8_850
    await city.agree(id)


async def test_a_refund_that_the_psp_refuses_fails(city: City) -> None:
    id = await paid(city)
    city.psp.add_fault("refund", "refuse")
    row = await refund(city, id, 850)
    assert (row["state"], row["reason"]) == ("failed", "psp_refused:charge_disputed")
    assert (await books.payment(city.engine, id))["refund_pending_minor"] == 0
    await city.agree(id)


@pytest.mark.parametrize("end", ["succeeded", "failed"])
async def test_a_pending_refund_ends_when_the_psp_says_so(city: City, end: str) -> None:
    id = await paid(city, "pm_card_pendingRefund")
    row = await refund(city, id, 850)
    assert (row["state"], row["unknown_leg"]) == ("accepted", "refund")
    await city.settle(rounds=2)
    assert (await books.refund(city.engine, row["id"]))["state"] == "accepted"
    city.psp.settle_refund(row["psp_refund_id"], end)
    await city.settle()
    assert (await books.refund(city.engine, row["id"]))["state"] == end
    await city.agree(id)


@pytest.mark.parametrize("died_after", ["accept", "unapply", "refund"])
async def test_continues_from(city: City, died_after: str) -> None:
    id = await paid(city)
    requested = refund_payment(id)
    async with city.engine.begin() as connection:
        accepted = await accept_refunds(connection, [requested], Booking(institutions()))
    if died_after == "unapply":
        connector = await city.connectors.of(BILLER)
        application = accepted.held[0].application
        assert application
        await connector.unapply(application)
    if died_after == "refund":
        await city.run_refund(accepted.held[0])
    await city.settle()
    assert city.applied(id) == ["apply", "unapply"]
    assert city.given_back_minor(id) == 8_850
    await city.agree(id)


async def test_two_processes_refund_once(city: City) -> None:
    id = await paid(city)
    requested = refund_payment(id)
    async with city.engine.begin() as connection:
        accepted = await accept_refunds(connection, [requested], Booking(institutions()))
    slow = await city.run_refund(accepted.held[0])
    await city.settle()
    async with city.engine.begin() as connection:
        assert await record_refunds(connection, [slow, slow]) == 0
    assert city.given_back_minor(id) == 8_850
    await city.agree(id)


class TestReversal:
    """A biller took its mark back without being asked."""

    @pytest.mark.parametrize("method", ["pm_card_visa", None])
    async def test_all_of_it_goes_back_once(self, city: City, method: str | None) -> None:
        id = await paid(city, method)
        connector = await city.connectors.of(BILLER)
        await connector.unapply(await books.application(city.engine, id))
        assert await city.payments.reverse([Reversal(id), Reversal(id)]) == 1
        assert await city.payments.reverse([Reversal(id)]) == 0
        await city.settle()
        row = await books.payment(city.engine, id)
        assert (row["state"], row["refunded_minor"]) == ("reversed", 8_850)
        assert await books.events(city.engine, id) == [
            "PaymentAccepted",
            "PaymentSucceeded",
            "PaymentReversed",
        ]
        assert await books.receipt_events(city.engine, id) == ["ReceiptIssued", "ReceiptVoided"]
        await city.agree(id)

    async def test_after_a_part_the_rest_goes_back(self, city: City) -> None:
        id = await paid(city)
        await refund(city, id, 850)
        connector = await city.connectors.of(BILLER)
        await connector.unapply(await books.application(city.engine, id))
        assert await city.payments.reverse([Reversal(id)]) == 1
        await city.settle()
        assert (await books.payment(city.engine, id))["state"] == "reversed"
        assert city.given_back_minor(id) == 8_850
        await city.agree(id)

    async def test_nothing_is_left_of_a_refunded_payment(self, city: City) -> None:
        id = await paid(city)
        await refund(city, id)
        assert await city.payments.reverse([Reversal(id), Reversal(uuid7())]) == 0
        assert (await books.payment(city.engine, id))["state"] == "refunded"
