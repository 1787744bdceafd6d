"""A result that can't be recorded, and a call that breaks, are cases at once: with what was learnt outside."""

from typing import Any
from uuid import UUID

from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.outside.cases import count_open
from tests.services.billing.payments import books
from tests.services.billing.payments.city import City
from tests.support.factories import fund_wallet, pay_bill, refund_payment, top_up_wallet

# A constraint that nobody expects: what every recording writes, and the case does not.
_FORBID = "ALTER TABLE {table} ADD CONSTRAINT ck_of_this_test CHECK ({condition}) NOT VALID"
_ALLOW = "ALTER TABLE {table} DROP CONSTRAINT ck_of_this_test"
WALLET = "wallet:city-app:payer-1"


async def run(engine: AsyncEngine, statement: str) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement))


async def open_cases(engine: AsyncEngine) -> list[tuple[str, UUID, str, str]]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT subject_kind, subject, kind, note FROM cases WHERE closed_at IS NULL ORDER BY id"
            )
        )
        return [tuple(row) for row in rows]


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0


async def test_a_payment_that_was_captured_and_can_not_be_recorded(
    city: City, owner_engine: AsyncEngine
) -> None:
    before = counted("cases_opened_total", kind="unrecorded_result")
    await run(owner_engine, _FORBID.format(table="payments", condition="state <> 'succeeded'"))
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    assert row["state"] == "accepted"
    assert city.charged_minor(row["id"]) == 8_850, "money has moved outside"
    [(subject_kind, subject, kind, note)] = await open_cases(city.engine)
    assert (subject_kind, subject, kind) == ("payment", row["id"], "unrecorded_result")
    [captured] = city.psp.book(row["id"])["captures"]
    assert captured["intent_id"] in note
    assert "succeeded" in note
    assert counted("cases_opened_total", kind="unrecorded_result") == before + 1
    await count_open(city.engine)
    assert counted("cases_open", kind="unrecorded_result") == 1
    # The calls are kept with the case, though the payment could not be written.
    assert await legs(city.engine, row["id"]) == ["authorize", "apply", "capture"]
    # It is tried again and stays one case; with the cause mended, it ends.
    await city.settle(rounds=2)
    assert len(await open_cases(city.engine)) == 1
    await run(owner_engine, _ALLOW.format(table="payments"))
    await city.settle()
    await city.agree(row["id"])
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"


async def test_a_top_up_that_was_charged_and_can_not_be_recorded(
    city: City, owner_engine: AsyncEngine
) -> None:
    await run(owner_engine, _FORBID.format(table="transfers", condition="kind <> 'top_up'"))
    requested = top_up_wallet()
    await city.payments.top_up([requested])
    await city.payments.drain()
    [(subject_kind, subject, kind, note)] = await open_cases(city.engine)
    assert (subject_kind, subject) == ("top_up", requested.command.top_up_id)
    assert kind == "unrecorded_result"
    assert "pi_" in note
    await run(owner_engine, _ALLOW.format(table="transfers"))
    await city.settle()
    assert await books.balance(city.engine, WALLET) == (10_000, 0)
    await books.audit(city.engine)


async def test_a_refund_that_was_given_back_and_can_not_be_recorded(
    city: City, owner_engine: AsyncEngine
) -> None:
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    await run(owner_engine, _FORBID.format(table="refunds", condition="state <> 'succeeded'"))
    requested = refund_payment(row["id"])
    await city.payments.refund([requested])
    await city.payments.drain()
    [(subject_kind, subject, kind, note)] = await open_cases(city.engine)
    assert (subject_kind, subject) == ("refund", requested.command.refund_id)
    assert kind == "unrecorded_result"
    assert "re_" in note
    await run(owner_engine, _ALLOW.format(table="refunds"))
    await city.settle()
    await city.agree(row["id"])


async def test_when_the_calls_themselves_can_not_be_written_the_case_still_is(
    city: City, owner_engine: AsyncEngine
) -> None:
    await run(owner_engine, _FORBID.format(table="outside_calls", condition="leg <> 'capture'"))
    row = await city.pay(pay_bill(await city.bill(), method="pm_card_visa"))
    assert [each[:3] for each in await open_cases(city.engine)] == [
        ("payment", row["id"], "unrecorded_result")
    ]


async def test_a_call_that_breaks(city: City, owner_engine: AsyncEngine) -> None:
    """The catalogue's connector is none of ours: asking the biller raises before anything is sent."""
    await fund_wallet(city.engine, 10_000)
    bill = await city.bill()
    broken = "UPDATE billers SET connector = '{\"dialect\": \"telex\"}' WHERE id = 'north-power'"
    await run(owner_engine, broken)
    row = await city.pay(pay_bill(bill))
    assert row["state"] == "authorized"
    [(subject_kind, subject, kind, note)] = await open_cases(city.engine)
    assert (subject_kind, subject, kind) == ("payment", row["id"], "failed_call")
    assert "UnknownBillerError" in note


async def test_a_payment_whose_bill_is_gone_holds_up_nobody(
    city: City, owner_engine: AsyncEngine
) -> None:
    """No foreign key holds the bill. The timer takes up everybody else, and the case names the one."""
    lost = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    other = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    await run(owner_engine, f"DELETE FROM bills WHERE id = '{lost.bill.id}'")
    await city.settle(rounds=2)
    assert (await books.payment(city.engine, other.id))["state"] == "succeeded"
    assert [each[:3] for each in await open_cases(city.engine)] == [
        ("payment", lost.id, "bill_missing")
    ]


async def legs(engine: AsyncEngine, subject: UUID) -> list[Any]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT leg FROM outside_calls WHERE subject = :id ORDER BY id"), {"id": subject}
        )
        return list(rows.scalars())
