"""Every outside call of a payment × everything that can become of it: paid once by everybody, or by nobody."""

from datetime import timedelta

import pytest

from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.support.factories import fund_wallet, pay_bill

# It happened, and nobody said so; or it did not; or the answer can't be believed.
PSP_TROUBLE = (
    "timeout_before",
    "timeout_after",
    "error_500_after",
    "reset_after",
    "truncate",
    "wrong_amount",
)
BILLER_TROUBLE = (
    "timeout_before",
    "error_500_before",
    "reset_before",
    "down",
    "timeout_after",
    "error_500_after",
    "reset_after",
    "truncate",
    "garbage",
    "wrong_echo",
)


@pytest.mark.parametrize("biller", [BILLER, "east-power", "south-power", "lz-water"])
async def test_with_everybody_well_it_is_paid_at_once(city: City, biller: str) -> None:
    requested = pay_bill(await city.bill(biller), method="pm_card_visa")
    row = await city.pay(requested)
    assert (row["state"], row["leg"]) == ("succeeded", None)
    id = row["id"]
    assert await books.events(city.engine, id) == ["PaymentAccepted", "PaymentSucceeded"]
    assert city.charged_minor(id) == 8_850
    assert city.applied(id) == ([] if biller == "lz-water" else ["apply"])
    assert await books.balance(city.engine, "psp:stripe:clearing") == (-8_850, 0)
    if biller != "lz-water":
        await city.agree(id)


@pytest.mark.parametrize("kind", PSP_TROUBLE)
@pytest.mark.parametrize("operation", ["authorize", "capture"])
async def test_trouble_at_the_psp_is_waited_out(city: City, operation: str, kind: str) -> None:
    city.psp.add_fault(operation, kind)
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    assert row["unknown_leg"] == operation, "no answer is neither a yes nor a no"
    assert row["due_at"] is not None
    assert await city.settle() > 0
    row = await books.payment(city.engine, row["id"])
    assert (row["state"], row["unknown_leg"]) == ("succeeded", None)
    assert await books.events(city.engine, row["id"]) == ["PaymentAccepted", "PaymentSucceeded"]
    await city.agree(row["id"])


@pytest.mark.parametrize("kind", BILLER_TROUBLE)
@pytest.mark.parametrize("method", ["pm_card_visa", None])
async def test_trouble_at_the_biller_is_waited_out(
    city: City, method: str | None, kind: str
) -> None:
    await fund_wallet(city.engine, 10_000)
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", kind)
    row = await city.pay(pay_bill(bill, method=method))
    assert (row["state"], row["unknown_leg"]) == ("authorized", "apply")
    await city.settle()
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    await city.agree(row["id"])
    left = 10_000 if method else 1_150
    assert await books.balance(city.engine, "wallet:city-app:payer-1") == (left, 0)


@pytest.mark.parametrize("kind", ["timeout_after", "down", "garbage", "wrong_echo"])
async def test_a_biller_that_cannot_say_is_asked_again(city: City, kind: str) -> None:
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", "timeout_after")
    city.billers.add_fault(BILLER, "query", kind, times=2)
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    assert await city.settle() >= 3
    await city.agree(row["id"])
    assert city.applied(row["id"]) == ["apply"]


@pytest.mark.parametrize(
    ("method", "reason"),
    [
        ("pm_card_chargeDeclinedInsufficientFunds", "insufficient_funds"),
        ("pm_card_chargeDeclined", "generic_decline"),
        ("pm_of_nobody", "resource_missing"),
    ],
)
async def test_a_decline_ends_it(city: City, method: str, reason: str) -> None:
    row = await city.pay(pay_bill(await city.bill(), method=method))
    assert (row["state"], row["reason"]) == ("declined", reason)
    assert await books.events(city.engine, row["id"]) == ["PaymentAccepted", "PaymentFailed"]
    assert city.applied(row["id"]) == []
    await city.agree(row["id"])


@pytest.mark.parametrize("kind", ["", *PSP_TROUBLE])
async def test_a_refusal_of_the_biller_lets_the_payers_money_go(city: City, kind: str) -> None:
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", "refuse", code="closed_for_today")
    if kind:
        city.psp.add_fault("void", kind)
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    if kind and kind != "wrong_amount":  # a void names no amount that could be wrong
        assert row["unknown_leg"] == "void"
        assert await books.events(city.engine, row["id"]) == ["PaymentAccepted"]
    await city.settle()
    row = await books.payment(city.engine, row["id"])
    assert (row["state"], row["reason"]) == ("voided", "closed_for_today")
    assert await books.events(city.engine, row["id"]) == ["PaymentAccepted", "PaymentFailed"]
    await city.agree(row["id"])


async def test_a_refusal_of_the_biller_gives_the_wallet_its_money_back(city: City) -> None:
    await fund_wallet(city.engine, 10_000)
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", "refuse")
    row = await city.pay(pay_bill(bill))
    assert row["state"] == "voided"
    assert await books.balance(city.engine, "wallet:city-app:payer-1") == (10_000, 0)
    again = await city.pay(pay_bill(bill))
    assert again["state"] == "succeeded", "its bill is free again"
    await city.agree(row["id"])
    await city.agree(again["id"])


@pytest.mark.parametrize("kind", ["", *BILLER_TROUBLE])
async def test_a_refused_capture_takes_the_billers_mark_back(city: City, kind: str) -> None:
    bill = await city.bill()
    city.psp.add_fault("capture", "refuse")
    if kind:
        city.billers.add_fault(BILLER, "unapply", kind)
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    if kind:
        assert (row["state"], row["unknown_leg"]) == ("applied", "unapply")
    await city.settle()
    row = await books.payment(city.engine, row["id"])
    assert (row["state"], row["reason"]) == ("voided", "capture_charge_authorization_expired")
    assert city.applied(row["id"]) == ["apply", "unapply"]
    await city.agree(row["id"])


async def test_a_mark_that_the_biller_keeps_is_a_case(city: City) -> None:
    bill = await city.bill()
    city.psp.add_fault("capture", "refuse")
    city.billers.add_fault(BILLER, "unapply", "refuse", code="not_same_day")
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    assert (row["state"], row["unknown_leg"]) == ("applied", "unapply")
    assert await books.cases(city.engine, row["id"]) == ["unapply"]
    await city.settle()
    await city.agree(row["id"])


async def test_a_charge_that_failed_before_its_effect_is_made_with_a_new_key(city: City) -> None:
    """The PSP keeps its 500 under the key for a day. Once it repeats it, the list proves that nothing was charged."""
    city.psp.add_fault("authorize", "error_500_before")
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    assert row["unknown_leg"] == "authorize"
    await city.settle(rounds=1)
    row = await books.payment(city.engine, row["id"])
    assert (row["leg"], row["attempt"], row["unknown_leg"]) == ("authorize", 2, None)
    await city.settle(rounds=1)
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    await city.agree(row["id"])


async def test_a_charge_that_failed_after_its_effect_is_found(city: City) -> None:
    city.psp.add_fault("authorize", "error_500_after")
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    await city.settle(rounds=1)
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    assert len(city.psp.book(row["id"])["holds"]) == 1
    await city.agree(row["id"])


async def test_a_payer_who_has_left_is_not_charged_anew(city: City) -> None:
    city.psp.add_fault("authorize", "error_500_before")
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    await city.age("payments", row["id"], timedelta(minutes=11))
    await city.settle(rounds=1)
    row = await books.payment(city.engine, row["id"])
    assert (row["state"], row["reason"]) == ("declined", "never_charged")
    await city.agree(row["id"])


async def test_after_the_keys_lifetime_a_charge_is_only_looked_for(city: City) -> None:
    """The PSP may have forgotten the key, so nothing is asked for a second time."""
    city.psp.add_fault("authorize", "timeout_before")
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    await city.age("payments", row["id"], timedelta(hours=24))
    before = city.psp.fired()
    city.psp.add_fault("authorize", "refuse")  # would decline it, were it asked for again
    await city.settle()
    row = await books.payment(city.engine, row["id"])
    assert (row["state"], row["reason"]) == ("declined", "never_charged")
    assert city.psp.fired() == before
    assert city.psp.book(row["id"])["holds"] == []
    await city.agree(row["id"])


async def test_a_charge_that_was_made_is_found_after_the_keys_lifetime(city: City) -> None:
    city.psp.add_fault("authorize", "timeout_after")
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    await city.age("payments", row["id"], timedelta(hours=23, minutes=30))
    await city.settle()
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    await city.agree(row["id"])


async def test_what_nobody_can_say_for_a_day_is_a_case_and_is_asked_again(city: City) -> None:
    bill = await city.bill()
    city.billers.add_fault(BILLER, "*", "down", times=4)
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    await city.settle(rounds=1)
    assert await books.cases(city.engine, row["id"]) == []
    await city.age("payments", row["id"], timedelta(hours=25))
    await city.settle(rounds=1)
    assert await books.cases(city.engine, row["id"]) == ["unknown_apply"]
    await city.settle()
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    await city.agree(row["id"])
