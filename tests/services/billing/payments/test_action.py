"""The payer has to confirm at the PSP's page: told once, waited for, taken back when nobody comes."""

from datetime import timedelta

import pytest

from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.support.factories import pay_bill, top_up_wallet

ASKS = "pm_card_authenticationRequired"


async def test_an_approved_payment_goes_on(city: City) -> None:
    row = await city.pay(pay_bill(await city.bill(), method=ASKS))
    assert (row["state"], row["unknown_leg"]) == ("accepted", None)
    assert row["action_url"].startswith("http")
    assert city.applied(row["id"]) == [], "nobody is told before the payer has confirmed"
    await city.settle(rounds=3)
    expected = ["PaymentAccepted", "PaymentActionRequired"]
    assert await books.events(city.engine, row["id"]) == expected, "once, however often we look"
    city.psp.decide(row["action_url"], "approve")
    await city.settle()
    assert (await books.payment(city.engine, row["id"]))["action_url"] is None
    assert await books.events(city.engine, row["id"]) == [*expected, "PaymentSucceeded"]
    await city.agree(row["id"])


async def test_a_page_is_not_lost_when_the_psp_does_not_answer(city: City) -> None:
    row = await city.pay(pay_bill(await city.bill(), method=ASKS))
    city.psp.add_fault("retrieve", "error_500_after")
    await city.settle(rounds=1)
    requested = await books.payment(city.engine, row["id"])
    assert (requested["action_url"], requested["unknown_leg"]) == (row["action_url"], "authorize")
    await city.settle(rounds=1)
    assert await books.events(city.engine, row["id"]) == [
        "PaymentAccepted",
        "PaymentActionRequired",
    ]
    city.psp.decide(row["action_url"], "approve")
    await city.settle()
    await city.agree(row["id"])


async def test_a_refused_payment_ends(city: City) -> None:
    row = await city.pay(pay_bill(await city.bill(), method=ASKS))
    city.psp.decide(row["action_url"], "refuse")
    await city.settle()
    row = await books.payment(city.engine, row["id"])
    assert (row["state"], row["reason"]) == ("declined", "payment_intent_authentication_failure")
    await city.agree(row["id"])


async def test_an_abandoned_payment_ends_and_frees_its_bill(city: City) -> None:
    bill = await city.bill()
    row = await city.pay(pay_bill(bill, method=ASKS))
    await city.age("payments", row["id"], timedelta(minutes=29))
    await city.settle(rounds=1)
    assert (await books.payment(city.engine, row["id"]))["state"] == "accepted"
    await city.age("payments", row["id"], timedelta(minutes=2))
    await city.settle()
    row = await books.payment(city.engine, row["id"])
    assert (row["state"], row["reason"]) == ("declined", "action_abandoned")
    again = await city.pay(pay_bill(bill, method="pm_card_visa"))
    assert again["state"] == "succeeded"
    await city.agree(row["id"])
    await city.agree(again["id"])


@pytest.mark.parametrize("decision", ["approve", "refuse", "nothing"])
async def test_a_top_up_that_has_to_be_confirmed(city: City, decision: str) -> None:
    requested = top_up_wallet(method=ASKS)
    id = requested.command.top_up_id
    await city.payments.top_up([requested])
    await city.payments.drain()
    row = await books.top_up(city.engine, id)
    assert row["action_url"]
    await city.settle(rounds=2)
    assert await books.events(city.engine, id) == ["TopUpActionRequired"]
    if decision == "nothing":
        await city.age("top_ups", id, timedelta(minutes=31))
    else:
        city.psp.decide(row["action_url"], decision)
    await city.settle()
    row = await books.top_up(city.engine, id)
    paid = decision == "approve"
    assert row["state"] == ("succeeded" if paid else "declined")
    assert await books.events(city.engine, id) == [
        "TopUpActionRequired",
        "WalletToppedUp" if paid else "TopUpFailed",
    ]
    assert city.charged_minor(id) == (10_000 if paid else 0)
    wallet = await books.balance(city.engine, "wallet:city-app:payer-1")
    assert wallet == ((10_000, 0) if paid else (0, 0))
    await books.audit(city.engine)
