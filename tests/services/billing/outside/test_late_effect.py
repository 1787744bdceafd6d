"""Effects that come after their caller has gone: a refusal meanwhile proves nothing until none can come any more."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.support.factories import fund_wallet, pay_bill, refund_payment, top_up_wallet

# Longer than our side waits in these tests, and than the next try takes.
LATE_SECONDS = 2.0
# What the catalogue says of the biller, see make_biller; and of the PSP, see institutions().
BILLER_SECONDS, PSP_SECONDS = 120, 60
METHODS = pytest.mark.parametrize("method", [None, "pm_card_visa"])


async def until(condition: Callable[[], bool], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + 10 + LATE_SECONDS
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.05)


def done(city: City, operation: str) -> int:
    """Return the number of late effects that have happened at the PSP."""
    return int(city.psp.fired().get(f"{operation}:late_effect_done", 0))


async def effect_of(city: City, operation: str, before: int) -> None:
    await until(lambda: done(city, operation) > before, f"the late {operation}")


def due_in(row: dict[str, Any]) -> timedelta:
    left: timedelta = row["due_at"] - datetime.now(UTC)
    return left


async def paid(city: City, method: str | None) -> UUID:
    await fund_wallet(city.engine, 10_000)
    row = await city.pay(pay_bill(await city.bill(), method=method))
    assert row["state"] == "succeeded"
    id: UUID = row["id"]
    return id


async def refund(city: City, payment_id: UUID, amount_minor: int | None = None) -> UUID:
    requested = refund_payment(payment_id, amount_minor)
    assert await city.payments.refund([requested]) == {}
    await city.payments.drain()
    return requested.command.refund_id


class TestUnapply:
    """The biller does not answer, and then refuses; its query still reads applied."""

    async def undecided(self, city: City, method: str | None, kind: str) -> tuple[UUID, UUID]:
        id = await paid(city, method)
        city.billers.add_fault(BILLER, "unapply", kind, seconds=LATE_SECONDS)
        refund_id = await refund(city, id)
        assert (await books.refund(city.engine, refund_id))["unknown_leg"] == "unapply"
        city.billers.add_fault(BILLER, "unapply", "refuse", code="not_same_day", times=2)
        await city.settle(rounds=1)
        row = await books.refund(city.engine, refund_id)
        assert (row["state"], row["leg"], row["reason"]) == ("accepted", "unapply", None)
        assert timedelta(seconds=BILLER_SECONDS - 30) < due_in(row)
        assert due_in(row) <= timedelta(seconds=BILLER_SECONDS)
        assert await books.events(city.engine, id) == ["PaymentAccepted", "PaymentSucceeded"]
        return id, refund_id

    @METHODS
    async def test_when_the_effect_comes_the_money_goes_back(
        self, city: City, method: str | None
    ) -> None:
        id, refund_id = await self.undecided(city, method, "late_effect")
        await until(lambda: city.applied(id) == ["apply", "unapply"], "the late unapply")
        await city.settle()
        assert (await books.refund(city.engine, refund_id))["state"] == "succeeded"
        assert (await books.payment(city.engine, id))["state"] == "refunded"
        await city.agree(id)

    @METHODS
    async def test_when_none_has_come_the_refusal_counts(
        self, city: City, method: str | None
    ) -> None:
        id, refund_id = await self.undecided(city, method, "timeout_before")
        await city.settle()
        row = await books.refund(city.engine, refund_id)
        assert (row["state"], row["reason"]) == ("failed", "biller_refused:not_same_day")
        assert (await books.payment(city.engine, id))["state"] == "succeeded"
        assert city.applied(id) == ["apply"]
        await city.agree(id)

    async def test_each_call_without_an_answer_starts_the_time_anew(self, city: City) -> None:
        id = await paid(city, None)
        city.billers.add_fault(BILLER, "unapply", "timeout_before")
        refund_id = await refund(city, id)
        await city.age("refunds", refund_id, timedelta(seconds=BILLER_SECONDS))
        city.billers.add_fault(BILLER, "unapply", "late_effect", seconds=LATE_SECONDS)
        await city.settle(rounds=1)
        city.billers.add_fault(BILLER, "unapply", "refuse", times=2)
        await city.settle(rounds=1)
        assert (await books.refund(city.engine, refund_id))["state"] == "accepted"
        await until(lambda: city.applied(id) == ["apply", "unapply"], "the late unapply")
        await city.settle()
        assert (await books.refund(city.engine, refund_id))["state"] == "succeeded"
        await city.agree(id)


class TestApply:
    """The biller does not answer, and then refuses; so the mark is taken back, and the biller refuses that, too."""

    async def watched(self, city: City, method: str | None, kind: str) -> UUID:
        await fund_wallet(city.engine, 10_000)
        bill = await city.bill()
        city.billers.add_fault(BILLER, "apply", kind, seconds=LATE_SECONDS)
        row = await city.pay(pay_bill(bill, method=method))
        assert row["unknown_leg"] == "apply"
        city.billers.add_fault(BILLER, "apply", "refuse", code="closed_for_today")
        city.billers.add_fault(BILLER, "unapply", "refuse", code="nothing_to_take_back")
        await city.settle(rounds=1)
        row = await books.payment(city.engine, row["id"])
        assert (row["state"], row["leg"], row["unknown_leg"]) == ("authorized", "unapply", None)
        assert timedelta(seconds=BILLER_SECONDS - 30) < due_in(row)
        assert await books.events(city.engine, row["id"]) == ["PaymentAccepted"]
        id: UUID = row["id"]
        return id

    @METHODS
    async def test_a_mark_that_comes_late_is_taken_back(
        self, city: City, method: str | None
    ) -> None:
        id = await self.watched(city, method, "late_effect")
        await until(lambda: city.applied(id) == ["apply"], "the late apply")
        await city.settle()
        row = await books.payment(city.engine, id)
        assert (row["state"], row["reason"]) == ("voided", "closed_for_today")
        assert city.applied(id) == ["apply", "unapply"]
        assert await books.balance(city.engine, "wallet:city-app:payer-1") == (10_000, 0)
        await city.agree(id)

    @METHODS
    async def test_when_none_has_come_the_money_is_let_go(
        self, city: City, method: str | None
    ) -> None:
        id = await self.watched(city, method, "timeout_before")
        city.billers.add_fault(BILLER, "unapply", "refuse", code="nothing_to_take_back")
        await city.settle(rounds=1)
        row = await books.payment(city.engine, id)
        assert (row["state"], row["reason"]) == ("voided", "closed_for_today")
        assert city.applied(id) == []
        await city.agree(id)

    @METHODS
    async def test_without_a_refusal_it_is_simply_found(
        self, city: City, method: str | None
    ) -> None:
        await fund_wallet(city.engine, 10_000)
        bill = await city.bill()
        city.billers.add_fault(BILLER, "apply", "late_effect", seconds=LATE_SECONDS)
        row = await city.pay(pay_bill(bill, method=method))
        await city.settle()
        assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
        name = f"{BILLER}:apply:late_effect_done"
        await until(lambda: name in city.billers.fired(), "the late apply")
        assert city.applied(row["id"]) == ["apply"]
        await city.agree(row["id"])


class TestPsp:
    """Its key is in use until the effect comes."""

    async def test_a_late_hold_is_found(self, city: City) -> None:
        before = done(city, "authorize")
        city.psp.add_fault("authorize", "late_effect", seconds=LATE_SECONDS)
        row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
        id = row["id"]
        assert row["unknown_leg"] == "authorize"
        await city.settle(rounds=1)
        row = await books.payment(city.engine, id)
        assert (row["state"], row["unknown_leg"]) == ("accepted", "authorize"), "the key is in use"
        await effect_of(city, "authorize", before)
        await city.settle()
        assert (await books.payment(city.engine, id))["state"] == "succeeded"
        assert len(city.psp.book(id)["holds"]) == 1
        await city.agree(id)

    async def test_a_late_capture_is_found(self, city: City) -> None:
        before = done(city, "capture")
        city.psp.add_fault("capture", "late_effect", seconds=LATE_SECONDS)
        row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
        assert (row["state"], row["unknown_leg"]) == ("applied", "capture")
        await city.settle(rounds=1)
        await effect_of(city, "capture", before)
        await city.settle()
        assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
        await city.agree(row["id"])

    async def test_a_capture_that_is_refused_while_the_first_one_is_on_its_way(
        self, city: City
    ) -> None:
        """It is a call of another minute, so its key is another one. Whichever comes first, the books agree."""
        city.psp.add_fault("capture", "late_effect", seconds=LATE_SECONDS)
        row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
        city.psp.add_fault("capture", "refuse")
        city.clock.now += 60
        await city.settle()
        await asyncio.sleep(LATE_SECONDS)
        row = await books.payment(city.engine, row["id"])
        assert row["state"] in {"succeeded", "voided"}
        await city.agree(row["id"])

    async def test_a_late_void_is_found(self, city: City) -> None:
        bill = await city.bill()
        before = done(city, "void")
        city.billers.add_fault(BILLER, "apply", "refuse", code="closed_for_today")
        city.psp.add_fault("void", "late_effect", seconds=LATE_SECONDS)
        row = await city.pay(pay_bill(bill, method="pm_card_visa"))
        assert (row["state"], row["unknown_leg"]) == ("authorized", "void")
        await city.settle(rounds=1)
        await effect_of(city, "void", before)
        await city.settle()
        row = await books.payment(city.engine, row["id"])
        assert (row["state"], row["reason"]) == ("voided", "closed_for_today")
        await city.agree(row["id"])

    async def test_a_late_refund_is_found(self, city: City) -> None:
        id = await paid(city, "pm_card_visa")
        before = done(city, "refund")
        city.psp.add_fault("refund", "late_effect", seconds=LATE_SECONDS)
        refund_id = await refund(city, id)
        await city.settle(rounds=1)
        row = await books.refund(city.engine, refund_id)
        assert (row["state"], row["unknown_leg"]) == ("unapplied", "refund"), "the key is in use"
        await effect_of(city, "refund", before)
        await city.settle()
        assert (await books.refund(city.engine, refund_id))["state"] == "succeeded"
        assert (await books.payment(city.engine, id))["state"] == "refunded"
        await city.agree(id)

    async def test_a_refund_that_is_refused_after_a_call_without_an_answer(
        self, city: City
    ) -> None:
        id = await paid(city, "pm_card_visa")
        city.psp.add_fault("refund", "timeout_before")
        refund_id = await refund(city, id, 850)
        city.psp.add_fault("refund", "refuse")
        await city.settle(rounds=1)
        row = await books.refund(city.engine, refund_id)
        assert (row["state"], row["leg"], row["unknown_leg"]) == ("accepted", "refund", None)
        assert timedelta(seconds=PSP_SECONDS - 30) < due_in(row) <= timedelta(seconds=PSP_SECONDS)
        await city.settle()
        row = await books.refund(city.engine, refund_id)
        assert (row["state"], row["reason"]) == ("failed", "psp_refused:charge_disputed")
        assert (await books.payment(city.engine, id))["refund_pending_minor"] == 0
        await city.agree(id)

    async def test_a_late_charge_of_a_top_up_is_found(self, city: City) -> None:
        before = done(city, "charge")
        city.psp.add_fault("charge", "late_effect", seconds=LATE_SECONDS)
        requested = top_up_wallet(9_000)
        id = requested.command.top_up_id
        await city.payments.top_up([requested])
        await city.settle(rounds=1)
        assert (await books.top_up(city.engine, id))["state"] == "accepted"
        await effect_of(city, "charge", before)
        await city.settle()
        assert (await books.top_up(city.engine, id))["state"] == "succeeded"
        assert city.charged_minor(id) == 9_000
        assert await books.balance(city.engine, "wallet:city-app:payer-1") == (9_000, 0)
        await books.audit(city.engine)
