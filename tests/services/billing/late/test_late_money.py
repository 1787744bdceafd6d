"""The PSP holds or captures money of a row that has ended here: it is voided or refunded, booked, with a case."""

from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from events.ids import uuid7
from services.billing.audit import audit_database
from services.billing.subject import Kind, Subject
from tests.services.billing.late import late_reports as late
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


async def test_late_held_money_is_voided(city: City) -> None:
    row = await declined(city)
    city.psp.confirm(row["psp_intent_id"])
    assert city.held_minor(row["id"]) == 8_850
    for _ in range(3):
        await late.report_intent(city, row["psp_intent_id"])
    assert await late.errands(city.engine) == [("late_payment", "look")]
    await city.settle()
    await agree(city, row["id"])
    assert await late.transfer_kinds(city.engine) == []


async def test_late_captured_money_goes_back_once_and_is_booked_with_a_case(city: City) -> None:
    row = await captured(city)
    for _ in range(3):
        await late.report_intent(city, row["psp_intent_id"])
    await city.settle()
    await agree(city, row["id"], "late_success")
    assert await late.transfer_kinds(city.engine) == ["late_capture", "late_return"]
    assert "declined: generic_decline" in await late.case_note(city.engine, row["id"])
    # An event that comes again days later finds it booked.
    await late.report_intent(city, row["psp_intent_id"])
    assert await late.errands(city.engine) == []
    assert (await books.payment(city.engine, row["id"]))["state"] == "declined"


async def test_a_late_captured_top_up_goes_back(city: City) -> None:
    instruction = top_up_wallet(method=late.DECLINES)
    await city.payments.top_up([instruction])
    await city.settle()
    row = await books.top_up(city.engine, instruction.command.top_up_id)
    assert row["state"] == "declined"
    assert city.psp.confirm(row["psp_intent_id"])["status"] == "succeeded"
    await late.report_intent(city, row["psp_intent_id"])
    assert await late.errands(city.engine) == [("late_top_up", "look")]
    await city.settle()
    await agree(city, row["id"], "late_success")
    assert await late.transfer_kinds(city.engine) == ["late_capture", "late_return"]
    assert await books.balance(city.engine, "wallet:city-app:payer-1") == (0, 0)


async def test_a_webhook_alone_changes_nothing(city: City) -> None:
    row = await declined(city)
    await late.report_intent(city, row["psp_intent_id"], status="succeeded")
    await city.settle()
    await agree(city, row["id"])


@pytest.mark.parametrize("kind", TROUBLE)
@pytest.mark.parametrize("operation", ["retrieve", "void", "refund", "find_refund"])
async def test_faults_at_the_psp_are_retried_until_the_end(
    city: City, operation: str, kind: str
) -> None:
    row = await declined(city) if operation == "void" else await captured(city)
    if operation == "void":
        if kind == "error_500_before":
            pytest.skip("the PSP keeps it under the key, and the key lasts a minute")
        city.psp.confirm(row["psp_intent_id"])
    thing = city.psp.call("GET", f"/v1/payment_intents/{row['psp_intent_id']}")
    city.psp.add_fault(operation, kind)
    await late.deliver_webhook(city.engine, "payment_intent.succeeded", thing)
    await city.settle()
    await agree(city, row["id"], *([] if operation == "void" else ["late_success"]))


async def test_an_unknown_intent_is_stored_and_retrieved(city: City, owner_engine: Any) -> None:
    row = await captured(city)
    async with owner_engine.begin() as connection:
        await connection.execute(_FORGET, {"id": row["id"]})
    await late.report_intent(city, row["psp_intent_id"])
    await city.settle()
    await agree(city, row["id"], "late_success")
    assert (await books.payment(city.engine, row["id"]))["psp_intent_id"] == row["psp_intent_id"]


@pytest.mark.parametrize("id", ["pi/1", "", None, 7, ["pi_1"], "pi_\0", "x" * 256])
async def test_an_invalid_intent_id_is_not_stored(
    city: City, owner_engine: Any, id: object
) -> None:
    row = await declined(city)
    async with owner_engine.begin() as connection:
        await connection.execute(_FORGET, {"id": row["id"]})
    await late.report_intent(city, row["psp_intent_id"], status="succeeded", id=id)
    assert await late.errands(city.engine) == []
    assert (await books.payment(city.engine, row["id"]))["psp_intent_id"] is None


@pytest.mark.parametrize("known", [True, False])
async def test_an_intent_of_another_charge_is_a_case_and_is_not_changed(
    city: City, owner_engine: Any, known: bool
) -> None:
    """It names our payment, and the PSP's own book does not."""
    row = await declined(city)
    if not known:
        async with owner_engine.begin() as connection:
            await connection.execute(_FORGET, {"id": row["id"]})
    other = await captured(city)
    about = {"charge_id": str(row["id"]), "kind": "payment"}
    await late.report_intent(city, other["psp_intent_id"], metadata=about)
    await city.settle()
    assert await books.cases(city.engine, row["id"]) == ["late_word"]
    assert other["psp_intent_id"] in await late.case_note(city.engine, row["id"])
    assert city.charged_minor(other["id"]) == 8_850
    assert await late.transfer_kinds(city.engine) == []


async def test_money_that_the_psp_refuses_to_give_back_is_owed_to_the_payer(city: City) -> None:
    row = await captured(city)
    city.psp.add_fault("refund", "refuse")
    await late.report_intent(city, row["psp_intent_id"])
    await city.settle()
    assert await late.errands(city.engine) == [], "it is not requested again"
    assert await books.cases(city.engine, row["id"]) == ["late_success"]
    assert "pay it another way" in await late.case_note(city.engine, row["id"])
    assert await books.balance(city.engine, late.CLEARING) == (-8_850, 0)
    assert await books.balance(city.engine, late.LATE) == (8_850, 0)
    assert await audit_database(city.engine) == []


async def test_a_pending_return_is_awaited_and_can_fail_later(city: City) -> None:
    row = await captured(city, "pm_card_pendingRefund")
    await late.report_intent(city, row["psp_intent_id"])
    await city.settle(rounds=2)
    assert await late.errands(city.engine) == [("late_payment", "refund")]
    assert await late.transfer_kinds(city.engine) == ["late_capture"], "that is certain"
    (refund,) = city.psp.book()["refunds"][-1:]
    city.psp.settle_refund(refund["id"], "succeeded")
    await late.report_refund(city, refund["id"], "refund.updated")
    await city.payments.resume()
    await city.payments.drain()
    await agree(city, row["id"], "late_success")
    # Days later the payer's bank sends it back.
    city.psp.settle_refund(refund["id"], "failed")
    for _ in range(2):
        await late.report_refund(city, refund["id"])
    await city.settle()
    assert await late.transfer_kinds(city.engine) == [
        "late_capture",
        "late_return",
        "refund_returned",
    ]
    assert await books.cases(city.engine, row["id"]) == ["late_success", "refund_failed_late"]
    assert await books.balance(city.engine, late.FAILED) == (8_850, 0)
    assert await audit_database(city.engine) == []


@pytest.mark.parametrize("marked", [True, False])
async def test_the_case_names_the_billers_state_of_an_applied_payment(
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
    await late.report_intent(city, intent_id)
    await city.settle()
    assert await books.cases(city.engine, payment.id) == ["late_success"]
    verdict = "marked the bill paid: ask" if marked else "has not marked the bill paid"
    assert verdict in await late.case_note(city.engine, payment.id)
    assert city.charged_minor(payment.id) == 0


async def test_reports_about_other_rows_are_ignored(city: City) -> None:
    paid = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    await late.report_intent(city, paid["psp_intent_id"])
    for subject in (Subject(Kind.REFUND, paid["id"]), Subject(Kind.TOP_UP, uuid7())):
        about = {"charge_id": str(subject.id), "kind": str(subject.kind)}
        await late.report_intent(city, paid["psp_intent_id"], metadata=about)
    assert await late.errands(city.engine) == []
    await city.agree(paid["id"])
