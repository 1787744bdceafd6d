"""The PSP holds or takes money of something that has ended here: it is let go or given back, booked, and seen."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from events.ids import uuid7
from services.billing.audit import audit_database
from services.billing.subject import Kind, Subject
from tests.services.billing.late import late_news as late
from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.support.factories import pay_bill, top_up_wallet

TROUBLE = ("timeout_before", "timeout_after", "error_500_before", "error_500_after", "reset_after")
_FORGET = text("UPDATE payments SET psp_intent_id = NULL WHERE id = :id")
_END = text("""
    UPDATE payments SET state = 'voided', reason = 'hold_expired', psp_intent_id = :intent_id, finished_at = now()
    WHERE id = :id
""")
_END_ERRAND = text("DELETE FROM errands WHERE subject = :id")
_APPLIED = text("""
    INSERT INTO outside_calls (subject, subject_kind, leg, outcome, started_at, duration_ms)
    VALUES (:id, 'payment', 'apply', 'BillerUnknown', now(), 1)
""")


async def declined(city: City) -> dict[str, Any]:
    """A payment that the PSP declined, with its intent."""
    row = await city.pay(pay_bill(await city.bill(), method=late.DECLINES))
    assert row["state"] == "declined"
    assert row["psp_intent_id"]
    return row


async def captured(city: City, method: str = "pm_card_visa") -> dict[str, Any]:
    """A declined payment whose payer tried again, and whose money somebody took."""
    row = await declined(city)
    city.psp.confirm(row["psp_intent_id"], method)
    city.psp.call("POST", f"/v1/payment_intents/{row['psp_intent_id']}/capture")
    return row


async def agree(city: City, id: UUID, *cases: str) -> None:
    """Nobody has the payer's money, and the books say so."""
    assert await books.cases(city.engine, id) == list(cases)
    assert await late.errands(city.engine) == []
    assert (city.charged_minor(id), city.held_minor(id)) == (0, 0)
    for account in (late.CLEARING, late.LATE):
        assert await books.balance(city.engine, account) == (0, 0)
    await books.audit(city.engine)
    assert await audit_database(city.engine) == []


async def test_what_is_only_held_is_let_go(city: City) -> None:
    row = await declined(city)
    city.psp.confirm(row["psp_intent_id"])
    assert city.held_minor(row["id"]) == 8_850
    for _ in range(3):
        await late.tell_of_intent(city, row["psp_intent_id"])
    assert await late.errands(city.engine) == [("late_payment", "look")]
    await city.settle()
    await agree(city, row["id"])
    assert await late.kinds(city.engine) == []


async def test_what_was_taken_goes_back_once_is_booked_and_seen(city: City) -> None:
    row = await captured(city)
    for _ in range(3):
        await late.tell_of_intent(city, row["psp_intent_id"])
    await city.settle()
    await agree(city, row["id"], "late_success")
    assert await late.kinds(city.engine) == ["late_capture", "late_return"]
    assert "declined: generic_decline" in await late.note(city.engine, row["id"])
    # An event that comes again days later finds it booked.
    await late.tell_of_intent(city, row["psp_intent_id"])
    assert await late.errands(city.engine) == []
    assert (await books.payment(city.engine, row["id"]))["state"] == "declined"


async def test_a_top_up_that_was_declined_goes_back_as_well(city: City) -> None:
    requested = top_up_wallet(method=late.DECLINES)
    await city.payments.top_up([requested])
    await city.settle()
    row = await books.top_up(city.engine, requested.command.top_up_id)
    assert row["state"] == "declined"
    assert city.psp.confirm(row["psp_intent_id"])["status"] == "succeeded"
    await late.tell_of_intent(city, row["psp_intent_id"])
    assert await late.errands(city.engine) == [("late_top_up", "look")]
    await city.settle()
    await agree(city, row["id"], "late_success")
    assert await late.kinds(city.engine) == ["late_capture", "late_return"]
    assert await books.balance(city.engine, "wallet:city-app:payer-1") == (0, 0)


async def test_a_hint_is_not_believed(city: City) -> None:
    row = await declined(city)
    await late.tell_of_intent(city, row["psp_intent_id"], status="succeeded")
    await city.settle()
    await agree(city, row["id"])


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("operation", ["retrieve", "void", "refund", "find_refund"])
async def test_trouble_at_the_psp_is_waited_out(city: City, operation: str, kind: str) -> None:
    row = await declined(city) if operation == "void" else await captured(city)
    if operation == "void":
        if kind == "error_500_before":
            pytest.skip("the PSP keeps it under the key, and the key lasts a minute")
        city.psp.confirm(row["psp_intent_id"])
    thing = city.psp.call("GET", f"/v1/payment_intents/{row['psp_intent_id']}")
    city.psp.add_fault(operation, kind)
    await late.tell(city.engine, "payment_intent.succeeded", thing)
    await city.settle()
    await agree(city, row["id"], *([] if operation == "void" else ["late_success"]))


async def test_an_intent_that_we_did_not_know_is_kept_and_looked_at(
    city: City, owner_engine: Any
) -> None:
    row = await captured(city)
    async with owner_engine.begin() as connection:
        await connection.execute(_FORGET, {"id": row["id"]})
    await late.tell_of_intent(city, row["psp_intent_id"])
    await city.settle()
    await agree(city, row["id"], "late_success")
    assert (await books.payment(city.engine, row["id"]))["psp_intent_id"] == row["psp_intent_id"]


@pytest.mark.parametrize("id", ["pi/1", "", None, 7, ["pi_1"], "pi_\0", "x" * 256])
async def test_an_id_that_is_none_is_not_kept(city: City, owner_engine: Any, id: object) -> None:
    row = await declined(city)
    async with owner_engine.begin() as connection:
        await connection.execute(_FORGET, {"id": row["id"]})
    await late.tell_of_intent(city, row["psp_intent_id"], status="succeeded", id=id)
    assert await late.errands(city.engine) == []
    assert (await books.payment(city.engine, row["id"]))["psp_intent_id"] is None


@pytest.mark.parametrize("known", [True, False])
async def test_somebody_elses_intent_is_one_for_a_person_and_is_left_alone(
    city: City, owner_engine: Any, known: bool
) -> None:
    """It names our payment, and the PSP's own book does not."""
    row = await declined(city)
    if not known:
        async with owner_engine.begin() as connection:
            await connection.execute(_FORGET, {"id": row["id"]})
    other = await captured(city)
    about = {"charge_id": str(row["id"]), "kind": "payment"}
    await late.tell_of_intent(city, other["psp_intent_id"], metadata=about)
    await city.settle()
    assert await books.cases(city.engine, row["id"]) == ["late_word"]
    assert other["psp_intent_id"] in await late.note(city.engine, row["id"])
    assert city.charged_minor(other["id"]) == 8_850
    assert await late.kinds(city.engine) == []


async def test_what_the_psp_will_not_give_back_is_owed_to_the_payer(city: City) -> None:
    row = await captured(city)
    city.psp.add_fault("refund", "refuse")
    await late.tell_of_intent(city, row["psp_intent_id"])
    await city.settle()
    assert await late.errands(city.engine) == [], "it is not asked for for ever"
    assert await books.cases(city.engine, row["id"]) == ["late_success"]
    assert "pay it another way" in await late.note(city.engine, row["id"])
    assert await books.balance(city.engine, late.CLEARING) == (-8_850, 0)
    assert await books.balance(city.engine, late.LATE) == (8_850, 0)
    assert await audit_database(city.engine) == []


async def test_a_give_back_that_is_pending_is_waited_for_and_can_fail_later(city: City) -> None:
    row = await captured(city, "pm_card_pendingRefund")
    await late.tell_of_intent(city, row["psp_intent_id"])
    await city.settle(rounds=2)
    assert await late.errands(city.engine) == [("late_payment", "refund")]
    assert await late.kinds(city.engine) == ["late_capture"], "that is certain"
    (refund,) = city.psp.book()["refunds"][-1:]
    city.psp.settle_refund(refund["id"], "succeeded")
    await late.tell_of_refund(city, refund["id"], "refund.updated")
    await city.payments.resume()
    await city.payments.drain()
    await agree(city, row["id"], "late_success")
    # Days later the payer's bank sends it back.
    city.psp.settle_refund(refund["id"], "failed")
    for _ in range(2):
        await late.tell_of_refund(city, refund["id"])
    await city.settle()
    assert await late.kinds(city.engine) == ["late_capture", "late_return", "refund_returned"]
    assert await books.cases(city.engine, row["id"]) == ["late_success", "refund_failed_late"]
    assert await books.balance(city.engine, late.FAILED) == (8_850, 0)
    assert await audit_database(city.engine) == []


@pytest.mark.parametrize("marked", [True, False])
async def test_the_case_says_what_the_biller_has_of_a_payment_that_had_reached_it(
    city: City, owner_engine: Any, marked: bool
) -> None:
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    held = await city.client.authorize(payment.charge)
    connector = await city.connectors.of(payment.bill.biller_id)
    if marked:
        await connector.apply(payment.application)
    intent_id: str = held.intent_id  # type: ignore[union-attr,assignment]
    await city.client.capture(intent_id, payment.subject, payment.amount_minor, "CNY")
    async with owner_engine.begin() as connection:
        for statement in (_END, _END_ERRAND, _APPLIED):
            await connection.execute(statement, {"id": payment.id, "intent_id": intent_id})
    await late.tell_of_intent(city, intent_id)
    await city.settle()
    assert await books.cases(city.engine, payment.id) == ["late_success"]
    content = "the biller has marked the bill paid" if marked else "the biller has no mark for it"
    assert content in await late.note(city.engine, payment.id)
    assert city.charged_minor(payment.id) == 0


async def test_open_and_succeeded_payments_wallets_and_strangers_are_left(city: City) -> None:
    paid = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    await late.tell_of_intent(city, paid["psp_intent_id"])
    for subject in (Subject(Kind.REFUND, paid["id"]), Subject(Kind.TOP_UP, uuid7())):
        about = {"charge_id": str(subject.id), "kind": str(subject.kind)}
        await late.tell_of_intent(city, paid["psp_intent_id"], metadata=about)
    assert await late.errands(city.engine) == []
    await city.agree(paid["id"])
