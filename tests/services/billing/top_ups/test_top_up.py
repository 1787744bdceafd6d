"""Top-ups: the wallet has what the PSP took, once, whatever happens on the way."""

from datetime import timedelta
from typing import Any

import pytest

from errands import Booking
from services.billing.top_ups.accept import accept_top_ups
from services.billing.top_ups.record import record_top_ups
from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.support.errands import institutions
from tests.support.factories import make_channel, top_up_wallet

WALLET = "wallet:city-app:payer-1"
TROUBLE = (
    "timeout_before",
    "timeout_after",
    "error_500_after",
    "reset_after",
    "truncate",
    "wrong_amount",
)


async def top_up(city: City, **asked: Any) -> dict[str, Any]:
    """Top up, and wait for what came of the first attempt: the row."""
    instruction = top_up_wallet(**asked)
    assert await city.payments.top_up([instruction, instruction]) == []
    await city.payments.drain()
    return await books.top_up(city.engine, instruction.command.top_up_id)


async def test_the_wallet_has_what_was_taken(city: City) -> None:
    row = await top_up(city)
    assert row["state"] == "succeeded"
    assert await books.balance(city.engine, WALLET) == (10_000, 0)
    assert await books.balance(city.engine, "psp:stripe:clearing") == (-10_000, 0)
    assert await books.events(city.engine, row["id"]) == ["WalletToppedUp"]
    assert city.charged_minor(row["id"]) == 10_000
    await books.audit(city.engine)


@pytest.mark.parametrize("kind", TROUBLE)
async def test_trouble_is_waited_out(city: City, kind: str) -> None:
    city.psp.add_fault("charge", kind)
    row = await top_up(city)
    assert (row["state"], row["unknown_leg"]) == ("accepted", "charge")
    assert await books.balance(city.engine, WALLET) == (0, 0)
    await city.settle()
    assert (await books.top_up(city.engine, row["id"]))["state"] == "succeeded"
    assert await books.balance(city.engine, WALLET) == (10_000, 0)
    assert city.charged_minor(row["id"]) == 10_000
    await books.audit(city.engine)


async def test_a_decline_moves_nothing(city: City) -> None:
    row = await top_up(city, method="pm_card_chargeDeclined")
    assert (row["state"], row["reason"]) == ("declined", "generic_decline")
    assert await books.events(city.engine, row["id"]) == ["TopUpFailed"]
    await books.audit(city.engine)


@pytest.mark.parametrize(
    ("asked", "reason"),
    [({"channel": "nobody"}, "channel_unknown"), ({"amount_minor": 5_000_001}, "above_limit")],
)
async def test_what_the_channel_may_not_ask_for_never_reaches_the_psp(
    city: City, asked: dict[str, Any], reason: str
) -> None:
    row = await top_up(city, **asked)
    assert (row["state"], row["reason"]) == ("declined", reason)
    assert await books.events(city.engine, row["id"]) == ["TopUpFailed"]
    assert city.psp.book(row["id"])["captures"] == []
    await books.audit(city.engine)


async def test_an_id_with_other_content_is_reused(city: City) -> None:
    await make_channel(city.engine, "other-app")
    first = top_up_wallet()
    other = top_up_wallet(20_000, top_up_id=first.command.top_up_id)
    assert await city.payments.top_up([first, other]) == [1]
    assert await city.payments.top_up([other, first]) == [0]
    await city.payments.drain()
    assert await books.balance(city.engine, WALLET) == (10_000, 0)


@pytest.mark.parametrize("died_after", ["accept", "charge"])
async def test_continues_from(city: City, died_after: str) -> None:
    requested = top_up_wallet()
    async with city.engine.begin() as connection:
        fresh, _ = await accept_top_ups(connection, [requested], Booking(institutions()))
    slow = await city.run_top_up(fresh[0]) if died_after == "charge" else None
    await city.settle()
    assert await books.balance(city.engine, WALLET) == (10_000, 0)
    assert city.charged_minor(fresh[0].id) == 10_000
    if slow:
        async with city.engine.begin() as connection:
            assert await record_top_ups(connection, [slow, slow]) == 0
    await books.audit(city.engine)


async def test_a_charge_that_the_psp_never_made_ends_when_its_absence_is_proven(city: City) -> None:
    city.psp.add_fault("charge", "error_500_before")
    row = await top_up(city)
    await city.age("top_ups", row["id"], timedelta(hours=24))
    await city.settle()
    row = await books.top_up(city.engine, row["id"])
    assert (row["state"], row["reason"]) == ("declined", "never_charged")
    assert city.charged_minor(row["id"]) == 0


async def test_a_charge_without_an_answer_for_a_day_is_a_case(city: City) -> None:
    city.psp.add_fault("charge", "timeout_after")
    row = await top_up(city)
    await city.age("top_ups", row["id"], timedelta(hours=24))
    city.psp.add_fault("*", "timeout_before")
    await city.settle(rounds=1)
    assert await books.cases(city.engine, row["id"]) == ["unknown_charge"]
    await city.settle()
    assert await books.balance(city.engine, WALLET) == (10_000, 0)
