"""Channels choose ids, unique within a kind only: the same id in two kinds is two things, outside and in the books."""

from collections import Counter
from itertools import permutations
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from events.ids import derived_id, uuid7
from services.billing.door.unkept import Promises
from services.billing.refunds import Reversal
from tests.services.billing.door.web import message
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.support.commands import DOOR_KEY
from tests.support.factories import pay_bill, refund_payment, top_up_wallet

AMOUNT = 8_850
WALLET = "wallet:city-app:payer-1"
CLEARING = "psp:stripe:clearing"
KINDS = ("payment", "refund", "top_up")
# The first call of each kind at the PSP: where its first attempt loses the answer.
FIRST_CALL = {"payment": "authorize", "refund": "refund", "top_up": "charge"}


async def paid(city: City, id: UUID | None = None) -> UUID:
    row = await city.pay(pay_bill(await city.bill(), payment_id=id, method="pm_card_visa"))
    assert row["state"] == "succeeded"
    found: UUID = row["id"]
    return found


async def carry_out(city: City, kind: str, id: UUID, fault: str | None = None) -> None:
    """Carry out one command of this kind under this id, over AMOUNT; its first call at the PSP suffers the fault."""
    target = await paid(city) if kind == "refund" else None
    bill = await city.bill(amount_minor=AMOUNT) if kind == "payment" else None
    if fault:
        city.psp.add_fault(FIRST_CALL[kind], fault)
    if bill:
        await city.payments.pay([pay_bill(bill, payment_id=id, method="pm_card_visa")])
    elif target:
        assert await city.payments.refund([refund_payment(target, refund_id=id)]) == {}
    else:
        assert await city.payments.top_up([top_up_wallet(AMOUNT, top_up_id=id)]) == []
    await city.settle()
    if fault:
        assert city.psp.fired()[f"{FIRST_CALL[kind]}:{fault}"], "the fault was suffered"
        city.psp.clear_faults()


async def states(city: City) -> dict[str, Counter[str]]:
    """Return the number of rows by kind and state."""
    found: dict[str, Counter[str]] = {}
    async with city.engine.connect() as connection:
        for table in ("payments", "refunds", "top_ups"):
            rows = await connection.execute(text(f"SELECT state FROM {table}"))
            found[table] = Counter(rows.scalars())
    return found


def taken_and_given_back(psp: Any, ids: set[str]) -> tuple[int, int]:
    """Return the sums that the PSP took for these charges and gave back."""
    book = psp.book()
    captures = [each for each in book["captures"] if each["charge_id"] in ids]
    intents = {each["intent_id"] for each in captures}
    refunds = [each for each in book["refunds"] if each["intent_id"] in intents]
    return (
        sum(each["amount_minor"] for each in captures),
        sum(each["amount_minor"] for each in refunds if each["status"] != "failed"),
    )


async def everybody_agrees(city: City) -> None:
    """The PSP's net is what our clearing account says, each payment's biller agrees, and the books hold."""
    async with city.engine.connect() as connection:
        payments = list((await connection.execute(text("SELECT id FROM payments"))).scalars())
        top_ups = list((await connection.execute(text("SELECT id FROM top_ups"))).scalars())
    taken, given_back = taken_and_given_back(city.psp, {str(id) for id in (*payments, *top_ups)})
    assert await books.balance(city.engine, CLEARING) == (given_back - taken, 0)
    applied = 0
    for id in payments:
        row = await books.payment(city.engine, id)
        marked = row["state"] in {"succeeded", "partially_refunded"}
        assert city.applied(id) == (["apply"] if marked else ["apply", "unapply"])
        applied += AMOUNT if marked else 0
    assert await books.balance(city.engine, f"biller:{BILLER}:payable") == (applied, 0)
    await books.audit(city.engine)


@pytest.mark.parametrize("fault", ["timeout_after", "timeout_before"])
@pytest.mark.parametrize(("first", "second"), permutations(KINDS, 2))
async def test_the_same_id_in_two_kinds_is_two_subjects(
    city: City, first: str, second: str, fault: str
) -> None:
    id = uuid7()
    await carry_out(city, first, id)
    await carry_out(city, second, id, fault)
    found = await states(city)
    assert not found["refunds"].keys() - {"succeeded"}, found
    assert not found["top_ups"].keys() - {"succeeded"}, found
    assert not found["payments"].keys() - {"succeeded", "refunded"}, found
    top_ups = found["top_ups"]["succeeded"]
    assert await books.balance(city.engine, WALLET) == (top_ups * AMOUNT, 0)
    await everybody_agrees(city)


async def test_a_refund_may_have_its_payments_id(city: City) -> None:
    id = await paid(city)
    assert await city.payments.refund([refund_payment(id, refund_id=id)]) == {}
    await city.settle()
    assert (await books.refund(city.engine, id))["state"] == "succeeded"
    assert (await books.payment(city.engine, id))["state"] == "refunded"
    assert not await books.has_receipt(city.engine, id)
    assert city.given_back_minor(id) == AMOUNT
    await city.agree(id)
    await everybody_agrees(city)


async def test_a_top_up_never_finds_a_payments_charge(city: City) -> None:
    """The first charge is lost before the PSP has it, so that the second attempt has to look for it."""
    id = await paid(city)
    city.psp.add_fault("charge", "timeout_before")
    await city.payments.top_up([top_up_wallet(AMOUNT, top_up_id=id)])
    await city.settle()
    row = await books.top_up(city.engine, id)
    assert row["state"] == "succeeded"
    assert row["psp_intent_id"] != (await books.payment(city.engine, id))["psp_intent_id"]
    assert taken_and_given_back(city.psp, {str(id)}) == (2 * AMOUNT, 0)
    await everybody_agrees(city)


async def test_money_of_an_undone_payment_is_not_taken_for_a_refund_of_the_same_id(
    city: City,
) -> None:
    """A payment is captured after we gave it up, so its money goes back; a refund of another payment has its id."""
    other = await paid(city)
    lost = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    progress = await city.run(lost)
    assert progress.state == "succeeded", "captured, and nobody wrote it down"
    connector = await city.connectors.of(BILLER)
    await connector.unapply(lost.application)
    await city.settle()
    assert (await books.payment(city.engine, lost.id))["state"] == "voided"
    assert city.charged_minor(lost.id) == 0
    await city.payments.refund([refund_payment(other, refund_id=lost.id)])
    await city.settle()
    assert (await books.refund(city.engine, lost.id))["state"] == "succeeded"
    assert city.given_back_minor(other) == AMOUNT
    await books.audit(city.engine)


async def test_a_caller_cannot_take_the_id_of_a_reversal(city: City) -> None:
    """Were the reversal's id free to choose, a failed refund under it would hide the reversal for ever."""
    id = await paid(city)
    reversal = Reversal(id)
    refund = message(refund_payment(id, refund_id=reversal.refund_id).command)
    top_up = message(top_up_wallet(top_up_id=derived_id("top_up", uuid7())).command)
    bill = await city.bill()
    payment = message(pay_bill(bill, payment_id=derived_id("psp_fee", "txn_1")).command)
    good = message(pay_bill(bill, method="pm_card_visa").command)
    batch = [refund, top_up, payment, good]
    refused = await city.payments.handle_commands(Promises(city.engine, DOOR_KEY), batch)
    assert [(each.message, each.reason) for each in refused] == [
        (payment, "reserved_id"),
        (top_up, "reserved_id"),
        (refund, "reserved_id"),
    ]
    await city.settle()
    connector = await city.connectors.of(BILLER)
    await connector.unapply(await books.application(city.engine, id))
    assert await city.payments.reverse([reversal]) == 1
    await city.settle()
    assert (await books.payment(city.engine, id))["state"] == "reversed"
    await city.agree(id)
