"""`meterhall errands …`: what an operator sees, retries, pauses and resumes; and what a pause does to money."""

import json
from typing import Any

from sqlalchemy import text

from events.ids import uuid7
from services.billing.outside.expire import PATIENCE_SECONDS
from tests.services.billing.cli.test_payments_command_line import lines
from tests.services.billing.payments import books
from tests.services.billing.payments.city import BILLER, City
from tests.support.command_line import meterhall
from tests.support.databases import Database
from tests.support.factories import make_biller, pay_bill, top_up_wallet

AT_BILLER = f"biller:{BILLER}"


async def listed(database: Database, *options: str) -> list[dict[str, Any]]:
    ran = await meterhall(database, "errands", "list", "--json", *options)
    assert ran.code == 0, ran.err
    return list(json.loads(ran.out))


async def backlog(database: Database, institution: str) -> dict[str, Any]:
    ran = await meterhall(database, "errands", "institutions", "--json")
    return next(each for each in json.loads(ran.out) if each["institution"] == institution)


async def change_due(city: City, seconds: float) -> None:
    """Have every errand due in so many seconds."""
    async with city.engine.begin() as connection:
        await connection.execute(
            text("UPDATE errands SET due_at = now() + :seconds * interval '1 second'"),
            {"seconds": seconds},
        )


async def wait_long(city: City) -> None:
    """Let the payers' patience pass."""
    await change_due(city, -PATIENCE_SECONDS - 1)


async def test_waiting_errands_are_listed(city: City, database: Database) -> None:
    assert (await meterhall(database, "errands", "list")).out == "Errands: none\n"
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", "timeout_before")
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    (found,) = await listed(database)
    assert found["subject"] == str(row["id"])
    assert (found["kind"], found["institution"], found["leg"]) == ("payment", AT_BILLER, "apply")
    assert (found["tries"], found["under_way"]) == (1, False)
    assert found["unknown_since"]
    assert found["sent_at"]
    shown = await meterhall(database, "errands", "list")
    assert lines(shown.out)
    assert f"payment:{row['id']}" in shown.out
    assert f"{AT_BILLER}, no answer for " in shown.out
    assert await listed(database, "--institution", AT_BILLER) == [found]
    assert await listed(database, "--institution", "psp") == []
    assert await listed(database, "--kind", "payment", "--limit", "1") == [found]
    assert await listed(database, "--kind", "top-up") == []
    wrong = await meterhall(database, "errands", "list", "--kind", "parcel")
    assert wrong.code == 1
    assert "payment, refund, top_up, lookup" in wrong.err
    await city.settle()
    await city.agree(row["id"])


async def test_retry_makes_errands_due_at_once(city: City, database: Database) -> None:
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", "timeout_before")
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    await change_due(city, 500)
    assert await city.payments.resume() == 0, "not due yet"
    ran = await meterhall(database, "errands", "retry", f"payment:{row['id']}")
    assert (ran.code, ran.out) == (0, "1 made due; 0 were due, 0 are under way.\n")
    ran = await meterhall(database, "errands", "retry", AT_BILLER)
    assert ran.out == "0 made due; 1 were due, 0 are under way.\n"
    assert await city.payments.resume() == 1
    await city.payments.drain()
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    for target, advice in (
        (f"payment:{row['id']}", "no such errand"),
        (f"refund:{uuid7()}", "no such errand"),
        ("payment:17", "is no id"),
        ("biller:nobody", "no institution 'biller:nobody'"),
    ):
        wrong = await meterhall(database, "errands", "retry", target)
        assert (wrong.code, wrong.out, wrong.err.count("\n")) == (1, "", 1)
        assert advice in wrong.err


async def test_an_errand_under_way_is_not_called_twice(city: City, database: Database) -> None:
    payment = await city.accept(pay_bill(await city.bill(), method="pm_card_visa"))
    ran = await meterhall(database, "errands", "retry", "psp")
    assert ran.out == "0 made due; 0 were due, 1 are under way.\n"
    assert await city.payments.resume() == 0
    (found,) = await listed(database)
    assert (found["subject"], found["under_way"]) == (str(payment.id), True)
    assert "under way" in (await meterhall(database, "errands", "list")).out.replace("\n", " ")
    await city.settle()


async def test_a_paused_biller_is_not_called_and_its_payments_wait(
    city: City, database: Database
) -> None:
    paused = await meterhall(database, "errands", "pause", AT_BILLER, "--note", "they move house")
    assert paused.code == 1, "the catalogue does not know it yet"
    bill = await city.bill()
    paused = await meterhall(database, "errands", "pause", AT_BILLER, "--note", "they move house")
    assert paused.code == 0, paused.err
    assert "institution_busy" in paused.out
    assert f"errands resume {AT_BILLER}" in paused.out
    await city.payments.resume()
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    assert (row["state"], city.applied(row["id"])) == ("authorized", [])
    now = await backlog(database, AT_BILLER)
    assert (now["waiting"], now["note"]) == (1, "they move house")
    assert now["paused_at"]
    shown = await meterhall(database, "errands", "institutions")
    assert lines(shown.out)
    assert "they move house" in " ".join(shown.out.replace("│", " ").split())
    retried = await meterhall(database, "errands", "retry", f"payment:{row['id']}")
    assert f"{AT_BILLER} is paused" in retried.out
    again = await meterhall(database, "errands", "pause", AT_BILLER)
    assert again.out.startswith(f"{AT_BILLER} is paused already, since ")
    assert again.out.endswith(": they move house.\n")
    assert await city.payments.resume() == 0
    resumed = await meterhall(database, "errands", "resume", AT_BILLER)
    assert resumed.out.startswith(f"{AT_BILLER} goes on.")
    twice = await meterhall(database, "errands", "resume", AT_BILLER)
    assert (twice.code, twice.out) == (0, f"{AT_BILLER} is not paused; nothing was changed.\n")
    await city.settle()
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    await city.agree(row["id"])


async def test_a_pause_does_not_keep_a_payers_money(city: City, database: Database) -> None:
    """A pause suspends no patience: what was never sent ends, and its money is let go."""
    bill = await city.bill()
    await meterhall(database, "errands", "pause", AT_BILLER)
    await city.payments.resume()
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    assert city.held_minor(row["id"]) == row["amount_minor"]
    assert await city.payments.expire_waiting() == 0
    await wait_long(city)
    assert await city.payments.expire_waiting() == 1
    await city.settle()
    row = await books.payment(city.engine, row["id"])
    assert (row["state"], row["reason"]) == ("voided", "institution_busy")
    await city.agree(row["id"])


async def test_a_call_that_may_have_been_sent_waits_until_the_pause_ends(
    city: City, database: Database
) -> None:
    bill = await city.bill()
    city.billers.add_fault(BILLER, "apply", "timeout_after")
    row = await city.pay(pay_bill(bill, method="pm_card_visa"))
    await meterhall(database, "errands", "pause", AT_BILLER)
    await wait_long(city)
    assert await city.payments.expire_waiting() == 0
    await city.settle(rounds=2)
    assert (await books.payment(city.engine, row["id"]))["state"] == "authorized"
    await meterhall(database, "errands", "resume", AT_BILLER)
    await city.settle()
    assert (await books.payment(city.engine, row["id"]))["state"] == "succeeded"
    await city.agree(row["id"])


async def test_a_paused_psp_is_not_charged(city: City, database: Database) -> None:
    await meterhall(database, "errands", "pause", "psp")
    await city.payments.resume()
    requested = top_up_wallet()
    await city.payments.top_up([requested])
    await city.payments.drain()
    assert city.charged_minor(requested.command.top_up_id) == 0
    await wait_long(city)
    assert await city.payments.expire_waiting() == 1, "it ends without the PSP"
    await city.payments.resume()
    await city.payments.drain()
    assert await listed(database) == []
    async with city.engine.connect() as connection:
        query = text("SELECT state, reason FROM top_ups")
        assert tuple((await connection.execute(query)).one()) == ("declined", "institution_busy")


async def test_unknown_institutions_are_refused(city: City, database: Database) -> None:
    await make_biller(city.engine, "hz-water", settled_by="call", dialect="json", url="http://b")
    await make_biller(city.engine, "by-file")
    for command in ("pause", "resume", "retry"):
        wrong = await meterhall(database, "errands", command, "biller:hz-watr")
        assert (wrong.code, wrong.out, wrong.err.count("\n")) == (1, "", 1)
        assert "Known are: biller:hz-water, ledger, psp" in wrong.err
        assert "by-file" not in wrong.err
    wrong = await meterhall(database, "errands", "list", "--institution", "hz-water")
    assert "biller:hz-water" in wrong.err
    wrong = await meterhall(database, "errands", "pause", "ledger")
    assert wrong.code == 1
    assert "cannot be paused" in wrong.err
    wrong = await meterhall(database, "errands", "pause", "psp", "--note", "n" * 201)
    assert "at most 200" in wrong.err
    shown = await meterhall(database, "errands", "institutions", "--all", "--json")
    assert [each["institution"] for each in json.loads(shown.out)] == [
        "biller:hz-water",
        "ledger",
        "psp",
    ]
    assert "none" in (await meterhall(database, "errands", "institutions")).out
    for number in range(60):
        await make_biller(
            city.engine, f"b-{number:02}", settled_by="call", dialect="json", url="http://b"
        )
    wrong = await meterhall(database, "errands", "resume", "biller:hz-watr")
    assert "Known are: biller:hz-water, " in wrong.err, "what looks like it comes first"
    assert "errands institutions --all" in wrong.err
