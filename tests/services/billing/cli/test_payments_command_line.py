"""An operator's view: the history of a payment, payments under way, cases."""

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from events.ids import uuid7
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.support.command_line import meterhall
from tests.support.databases import Database
from tests.support.factories import PAYER, fund_wallet, pay_bill, refund_payment, top_up_wallet

EVENTS = ("PaymentAccepted", "PaymentSucceeded", "PaymentRefunded")


def lines(out: str) -> list[str]:
    found = out.splitlines()
    assert all(len(each) <= 80 for each in found), "a table fits 80 columns"
    return found


async def test_one_payment_is_shown_in_order_of_time(city: City, database: Database) -> None:
    await fund_wallet(city.engine, 10_000)
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", "timeout_after")
    row = await city.pay(pay_bill(bill))
    await city.settle()
    refund = refund_payment(row["id"])
    await city.payments.refund([refund])
    await city.settle()
    shown = await meterhall(database, "payments", "show", str(row["id"]))
    assert shown.code == 0, shown.err
    assert lines(shown.out)
    assert PAYER not in shown.out
    result = json.loads(
        (await meterhall(database, "payments", "show", str(row["id"]), "--json")).out
    )
    told_of_refund = await meterhall(
        database, "payments", "show", str(refund.command.refund_id), "--json"
    )
    assert json.loads(told_of_refund.out) == result
    assert [each["at"] for each in result] == sorted(each["at"] for each in result)
    what = [(each["what"], each["text"].split(" (")[0]) for each in result]
    short = str(refund.command.refund_id)[:8]
    for wanted in (
        ("state", "taken in, funded by the wallet"),
        ("hold", "set aside in the wallet"),
        ("event", "#1 PaymentAccepted.v1"),
        ("call", "apply BillerUnknown: no answer within 0.4 s"),
        ("call", "apply Applied"),
        ("state", "applied"),
        ("hold", "posted"),
        ("transfer", f"pay_bill wallet > biller:{BILLER}:payable"),
        ("state", "succeeded"),
        ("event", "#2 PaymentSucceeded.v1"),
        ("state", f"refund {short}: requested"),
        ("call", f"refund {short}: unapply Unapplied"),
        ("transfer", f"refund {short}: refund biller:{BILLER}:payable > wallet"),
        ("receipt", "void: refunded"),
        ("event", "#3 PaymentRefunded.v1"),
    ):
        assert wanted in what
    # Within one transaction the clocks of the two machines may differ, between two of them the order is the story.
    steps = [
        what.index(("event", f"#{number} {event}.v1")) for number, event in enumerate(EVENTS, 1)
    ]
    assert steps == sorted(steps)


async def test_a_top_up_is_shown_as_well(city: City, database: Database) -> None:
    requested = top_up_wallet()
    await city.payments.top_up([requested])
    await city.settle()
    shown = await meterhall(database, "payments", "show", str(requested.command.top_up_id))
    assert "top-up succeeded" in shown.out
    assert "100.00 CNY" in shown.out


async def test_an_unknown_payment_is_an_error_of_one_line(database: Database) -> None:
    shown = await meterhall(database, "payments", "show", str(uuid7()))
    assert (shown.code, shown.out, shown.err.count("\n")) == (1, "", 1)
    assert "There is no payment" in shown.err


async def test_an_open_payment_is_shown_with_its_case(city: City, database: Database) -> None:
    bill = await city.bill()
    city.psp.add_fault("capture", "refuse")
    city.billers.add_fault(BILLER, "unapply", "refuse", code="not_same_day")
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    shown = await meterhall(database, "payments", "open")
    assert lines(shown.out)
    assert "Under way" in shown.out
    assert f"payment:{row['id']}" in shown.out, "an id in one piece, as `errands retry` takes it"
    content = " ".join(shown.out.replace("│", " ").split())
    assert f"applied, at biller:{BILLER}" in content
    assert "no answer for" in content
    (found,) = json.loads((await meterhall(database, "payments", "open", "--json")).out)
    assert (found["id"], found["state"], found["institution"], found["leg"]) == (
        str(row["id"]),
        "applied",
        f"biller:{BILLER}",
        "unapply",
    )
    assert found["unknown_since"]
    case = await one_case(database)
    assert (case["subject"], case["kind"]) == (str(row["id"]), "unapply")
    assert lines((await meterhall(database, "cases", "list")).out)
    closed = await meterhall(database, "cases", "close", str(case["id"]))
    assert (closed.code, closed.out) == (0, f"Case {case['id']} is closed.\n")
    again = await meterhall(database, "cases", "close", str(case["id"]))
    assert again.code == 1
    assert "cases list" in again.err
    # A payment that goes on after its case was closed is reported again, once no former call can still take effect.
    await city.age("payments", row["id"], timedelta(minutes=3))
    city.billers.add_fault(BILLER, "unapply", "refuse", code="not_same_day")
    await city.settle(rounds=1)
    assert (await one_case(database))["id"] != case["id"]
    assert len(json.loads((await meterhall(database, "cases", "list", "--all", "--json")).out)) == 2
    assert await books.cases(city.engine, row["id"]) == ["unapply"]
    async with city.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM cases")) == 2
    # What its end closes says so.
    await city.settle()
    listed = await meterhall(database, "cases", "list", "--all")
    assert lines(listed.out)
    content = " ".join(listed.out.replace("│", " ").split())
    assert "unapply (closed)" in content
    assert ": closed by hand" in content
    assert ": it has ended" in content
    assert (await meterhall(database, "cases", "list")).out.startswith("0 cases")


async def one_case(database: Database) -> dict[str, Any]:
    (case,) = json.loads((await meterhall(database, "cases", "list", "--json")).out)
    return dict(case)
