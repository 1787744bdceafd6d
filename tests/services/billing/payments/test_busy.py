"""A payment that waits too long for a place and was never sent ends and releases the money; no other does."""

import asyncio
import json
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from services.billing.institutions import of_biller
from services.billing.outside.busy import PATIENCE_SECONDS
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.support.factories import fund_wallet, pay_bill, top_up_wallet

LATE = timedelta(seconds=PATIENCE_SECONDS + 1)
EARLY = timedelta(seconds=PATIENCE_SECONDS - 60)
METHODS = pytest.mark.parametrize("method", [None, "pm_card_visa"])


def break_down(city: City, institution: str) -> None:
    """It has not answered lately, so it is left alone for a while."""
    for _ in range(20):
        city.institutions.of(institution).report(answered=False)


def heal(city: City, institution: str) -> None:
    city.institutions.of(institution).report(answered=True)


async def wait(city: City, id: UUID, by: timedelta) -> None:
    """Let it have waited for so long."""
    async with city.engine.begin() as connection:
        await connection.execute(
            text("UPDATE errands SET due_at = due_at - CAST(:by AS interval) WHERE subject = :id"),
            {"by": by, "id": id},
        )


async def expire(city: City, bill_id: UUID) -> None:
    await city.run_as_owner(
        "UPDATE bills SET expires_at = now() - interval '1 second' WHERE id = :id", id=bill_id
    )


async def let_go(city: City) -> None:
    """The timer's job, and a claim of what it has found."""
    while await city.payments.resume():
        await city.payments.drain()


async def waiting(city: City, method: str | None) -> dict[str, Any]:
    """A payment whose biller is left alone, so that its bill waits to be marked."""
    await fund_wallet(city.engine, 10_000)
    bill = await city.bill()
    break_down(city, of_biller(BILLER))
    row = await city.pay(pay_bill(bill, method=method))
    assert (row["state"], row["leg"], row["unknown_leg"]) == ("authorized", "apply", None)
    assert row["institution"] == of_biller(BILLER)
    return row


async def ended(city: City, row: dict[str, Any]) -> None:
    """It has ended as busy: nobody has its money, its bill is free, and its wallet was told."""
    after = await books.payment(city.engine, row["id"])
    assert (after["state"], after["reason"]) == ("voided", "institution_busy")
    assert await books.events(city.engine, row["id"]) == ["PaymentAccepted", "PaymentFailed"]
    assert await failure(city, row["id"]) == "institution_busy"
    assert city.applied(row["id"]) == []
    assert await books.balance(city.engine, "wallet:city-app:payer-1") == (10_000, 0)
    assert await books.cases(city.engine, row["id"]) == []
    await city.agree(row["id"])


async def failure(city: City, id: UUID) -> str:
    async with city.engine.connect() as connection:
        payload = await connection.scalar(
            text("SELECT payload FROM outbox WHERE key = :id AND type LIKE '%Failed.v1'"),
            {"id": str(id)},
        )
    return str(json.loads(payload)["reason"])


@METHODS
async def test_a_bill_that_could_not_be_marked_for_ten_minutes(
    city: City, method: str | None
) -> None:
    row = await waiting(city, method)
    assert city.held_minor(row["id"]) == (8_850 if method else 0)
    await wait(city, row["id"], EARLY)
    assert await city.payments.give_up_waiting() == 0
    await wait(city, row["id"], LATE - EARLY)
    assert await city.payments.give_up_waiting() == 1
    assert await city.payments.give_up_waiting() == 0
    await let_go(city)
    await ended(city, row)
    heal(city, of_biller(BILLER))
    again = await city.pay(pay_bill(row["bill_id"], method=method))
    assert again["state"] == "succeeded", "its bill is free again"
    await city.agree(again["id"])


@METHODS
async def test_one_that_outlives_its_bill(city: City, method: str | None) -> None:
    row = await waiting(city, method)
    await expire(city, row["bill_id"])
    assert await city.payments.give_up_waiting() == 1
    await let_go(city)
    await ended(city, row)


@METHODS
async def test_one_whose_bill_is_over_when_its_turn_comes(city: City, method: str | None) -> None:
    """The biller is back before the timer has looked: an expired bill is not marked."""
    row = await waiting(city, method)
    await expire(city, row["bill_id"])
    city.new_process()  # this one remembers the bill as it was
    heal(city, of_biller(BILLER))
    await let_go(city)
    await ended(city, row)


@METHODS
async def test_an_apply_that_may_have_been_sent_is_never_given_up(
    city: City, method: str | None
) -> None:
    await fund_wallet(city.engine, 10_000)
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", "timeout_after")
    row = await city.pay(pay_bill(bill, method=method))
    assert row["unknown_leg"] == "apply"
    await city.make_due()
    break_down(city, of_biller(BILLER))
    await wait(city, row["id"], timedelta(days=2))
    await expire(city, row["bill_id"])
    assert await city.payments.give_up_waiting() == 0
    heal(city, of_biller(BILLER))
    await city.settle()
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    assert city.applied(row["id"]) == ["apply"]
    await city.agree(row["id"])


@METHODS
async def test_one_that_a_dead_process_had_in_hand_is_never_given_up(
    city: City, method: str | None
) -> None:
    """It is unknown whether the dead process has sent anything."""
    await fund_wallet(city.engine, 10_000)
    payment = await city.accept(pay_bill(await city.bill(), method=method))
    await wait(city, payment.id, timedelta(days=2))
    await expire(city, payment.bill.id)
    assert await city.payments.give_up_waiting() == 0
    await city.settle()
    assert (await books.payment(city.engine, payment.id))["state"] == "succeeded"
    await city.agree(payment.id)


async def test_one_that_was_never_authorized_ends_without_the_psp(city: City) -> None:
    await fund_wallet(city.engine, 10_000)
    bill = await city.bill()
    break_down(city, "psp")
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    assert (row["state"], row["leg"], row["psp_intent_id"]) == ("accepted", "authorize", None)
    await wait(city, row["id"], LATE)
    assert await city.payments.give_up_waiting() == 1
    city.psp.add_fault("*", "refuse")
    fired = city.psp.fired()
    await let_go(city)
    assert city.psp.fired() == fired, "the PSP was asked nothing"
    await ended(city, row)
    assert city.psp.book(row["id"])["holds"] == []


async def test_a_hold_is_let_go_when_the_psp_is_back(city: City) -> None:
    """Biller and PSP are both away: the payer's money waits for the PSP, and only there."""
    row = await waiting(city, "pm_card_visa")
    break_down(city, "psp")
    await wait(city, row["id"], LATE)
    assert await city.payments.give_up_waiting() == 1
    await let_go(city)
    after = await books.payment(city.engine, row["id"])
    assert (after["state"], after["leg"], after["institution"]) == ("authorized", "void", "psp")
    await wait(city, row["id"], timedelta(days=1))
    assert await city.payments.give_up_waiting() == 0
    heal(city, "psp")
    await let_go(city)
    await ended(city, row)


async def test_one_that_waits_for_its_payer_is_not_touched(city: City) -> None:
    """Neither for its payer's confirmation, nor for a place at the PSP to look for it."""
    bill = await city.bill()
    row = await city.pay(pay_bill(bill, method="pm_card_authenticationRequired"))
    assert row["action_url"]
    break_down(city, "psp")
    await wait(city, row["id"], timedelta(minutes=20))
    await expire(city, row["bill_id"])
    assert await city.payments.give_up_waiting() == 0
    heal(city, "psp")
    await let_go(city)
    after = await books.payment(city.engine, row["id"])
    assert (after["state"], after["action_url"]) == ("accepted", row["action_url"])
    city.psp.decide(row["action_url"], "refuse")
    await city.settle()
    assert (await books.payment(city.engine, row["id"]))["state"] == "declined"
    await city.agree(row["id"])


async def test_one_that_waits_to_be_captured_is_not_touched(city: City) -> None:
    """Its bill is marked, so it goes on however long it takes."""
    city.billers.add_fault(BILLER, "apply", "timeout_after")
    id = (await city.pay(pay_bill(await city.bill(), method="pm_card_visa")))["id"]
    break_down(city, "psp")
    await city.settle(rounds=1)
    row = await books.payment(city.engine, id)
    assert (row["state"], row["leg"], row["institution"]) == ("applied", "capture", "psp")
    await wait(city, id, timedelta(days=2))
    await expire(city, row["bill_id"])
    assert await city.payments.give_up_waiting() == 0
    heal(city, "psp")
    await let_go(city)
    assert (await books.payment(city.engine, id))["state"] == "succeeded"
    await city.agree(id)


async def test_a_top_up_that_was_never_charged_ends_without_the_psp(city: City) -> None:
    break_down(city, "psp")
    requested = top_up_wallet(9_000)
    id = requested.command.top_up_id
    await city.payments.top_up([requested])
    await city.payments.drain()
    await wait(city, id, EARLY)
    assert await city.payments.give_up_waiting() == 0
    await wait(city, id, LATE - EARLY)
    assert await city.payments.give_up_waiting() == 1
    await let_go(city)
    row = await books.top_up(city.engine, id)
    assert (row["state"], row["reason"], row["leg"]) == ("declined", "institution_busy", None)
    assert await books.events(city.engine, id) == ["TopUpFailed"]
    assert await failure(city, id) == "institution_busy"
    assert city.charged_minor(id) == 0
    await books.audit(city.engine)


async def test_a_top_up_whose_charge_may_have_been_sent_is_never_given_up(city: City) -> None:
    city.psp.add_fault("charge", "timeout_after")
    requested = top_up_wallet(9_000)
    id = requested.command.top_up_id
    await city.payments.top_up([requested])
    await city.payments.drain()
    await city.make_due()
    break_down(city, "psp")
    await wait(city, id, timedelta(days=2))
    assert await city.payments.give_up_waiting() == 0
    heal(city, "psp")
    await city.settle()
    assert (await books.top_up(city.engine, id))["state"] == "succeeded"
    assert city.charged_minor(id) == 9_000
    await books.audit(city.engine)


async def test_one_that_gets_a_place_while_the_timer_looks_goes_on(city: City) -> None:
    """A worker claims it between the timer's look and its redirection: it is paid, and not half of it."""
    row = await waiting(city, "pm_card_visa")
    await wait(city, row["id"], LATE)
    heal(city, of_biller(BILLER))
    await asyncio.gather(
        city.payments.resume(), *(city.payments.give_up_waiting() for _ in range(3))
    )
    await city.payments.drain()
    await let_go(city)
    after = await books.payment(city.engine, row["id"])
    assert after["state"] in {"succeeded", "voided"}
    await city.agree(row["id"])
