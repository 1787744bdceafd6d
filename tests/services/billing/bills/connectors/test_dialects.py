"""Every operation in every dialect, against the sandbox's billers over TCP; the biller's own book is the witness."""

import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from services.billing.bills.connectors.dialect import BillerEndpoint
from services.billing.bills.connectors.http import HttpClient
from services.billing.bills.connectors.protocol import (
    Applied,
    BillerDown,
    BillerRefused,
    BillerUnknown,
    Found,
    NoSuchAccount,
    NotApplied,
    NothingOwed,
    Unapplied,
)
from services.billing.bills.connectors.registry import DIALECTS
from tests.services.billing.bills.connectors.conftest import SPEAKERS, Customer, Customers, speaker
from tests.support.billers import SandboxBillers

pytestmark = pytest.mark.parametrize("dialect", SPEAKERS)


def booked(billers: SandboxBillers, who: Customer) -> list[tuple[str, int]]:
    """Return the bill's entry in the biller's book."""
    return [
        (line["kind"], line["amount_minor"])
        for line in billers.book(who.biller)
        if line["bill_number"] == who.bill.bill_number
    ]


async def owes(who: Customer) -> bool:
    found = await who.dialect.lookup(who.account_number)
    return isinstance(found, Found) and who.bill in found.bills


async def test_a_lookup_brings_the_bill_as_the_biller_states_it(
    dialect: str, customer: Customers
) -> None:
    who = await customer(dialect)
    assert who.bill.amount_minor == 8_000
    assert (who.bill.currency, who.bill.rule, who.bill.period) == ("CNY", "exact", "2026-01")
    assert who.bill.expires_at > datetime.now(UTC)


async def test_what_the_city_begins_with_has_due_dates(
    dialect: str, billers: SandboxBillers, client: HttpClient
) -> None:
    biller = SPEAKERS[dialect]
    connector = speaker(billers, client, biller)
    found = await connector.lookup(billers.accounts(biller, limit=1)[0])
    assert isinstance(found, Found)
    # Bills of other tests have no due date.
    dates = [(each.due_on, each.expires_at.date()) for each in found.bills if each.due_on]
    assert dates
    assert all(due_on < expires_on for due_on, expires_on in dates)


async def test_an_account_may_owe_nothing_or_not_exist(
    dialect: str, billers: SandboxBillers, client: HttpClient
) -> None:
    biller = SPEAKERS[dialect]
    connector = speaker(billers, client, biller)
    idle = billers.accounts(biller, owing=False)[-1]
    assert await connector.lookup(idle) == NothingOwed()
    assert await connector.lookup("404") == NoSuchAccount()


async def test_a_bill_is_marked_paid_once_however_often_the_serial_is_sent(
    dialect: str, customer: Customers, billers: SandboxBillers
) -> None:
    who = await customer(dialect)
    application = who.application()
    first = await who.dialect.apply(application)
    assert isinstance(first, Applied)
    assert first.biller_reference
    assert await who.dialect.apply(application) == first
    assert await who.dialect.query(application) == first
    assert booked(billers, who) == [("apply", 8_000)]
    assert not await owes(who)


async def test_what_the_biller_will_not_do_is_refused_with_a_reason(
    dialect: str, customer: Customers, billers: SandboxBillers
) -> None:
    who, other = await customer(dialect), await customer(dialect)
    apply = who.dialect.apply
    assert await apply(who.application(amount_minor=8_001)) == BillerRefused("amount_refused")
    application = who.application()
    assert isinstance(await apply(application), Applied)
    assert await apply(who.application()) == BillerRefused("bill_already_paid")
    assert await apply(other.application(serial=application.serial)) == BillerRefused(
        "serial_reused"
    )
    assert booked(billers, who) == [("apply", 8_000)]
    assert booked(billers, other) == []
    other.account_number = who.account_number
    assert await apply(other.application()) == BillerRefused("bill_not_found")


async def test_an_expired_bill_is_not_taken(
    dialect: str, customer: Customers, billers: SandboxBillers
) -> None:
    who = await customer(dialect)
    number = billers.issue_bill(who.biller, who.account_number, 5_000, expires_in_seconds=-1)
    application = who.application(amount_minor=5_000)
    expired = type(application)(application.serial, who.account_number, number, 5_000, "CNY")
    assert await who.dialect.apply(expired) == BillerRefused("bill_expired")


async def test_an_unapply_may_be_repeated_and_the_bill_is_owed_again(
    dialect: str, customer: Customers, billers: SandboxBillers
) -> None:
    who = await customer(dialect)
    application = who.application()
    await who.dialect.apply(application)
    for _ in range(2):
        assert await who.dialect.unapply(application) == Unapplied()
    assert await who.dialect.query(application) == Unapplied()
    assert await who.dialect.apply(application) == BillerRefused("serial_unapplied")
    assert await owes(who)
    assert isinstance(await who.dialect.apply(who.application()), Applied)
    assert booked(billers, who) == [("apply", 8_000), ("unapply", 8_000), ("apply", 8_000)]


async def test_an_unapply_that_overtakes_its_apply_blocks_it(
    dialect: str, customer: Customers, billers: SandboxBillers
) -> None:
    who = await customer(dialect)
    application = who.application()
    assert await who.dialect.query(application) == NotApplied()
    assert await who.dialect.unapply(application) == Unapplied()
    assert await who.dialect.apply(application) == BillerRefused("serial_unapplied")
    assert booked(billers, who) == []


async def test_the_day_file_says_what_the_book_says(
    dialect: str, customer: Customers, billers: SandboxBillers
) -> None:
    who = await customer(dialect)
    first, second = who.application(), who.application()
    await who.dialect.apply(first)
    await who.dialect.unapply(first)
    await who.dialect.apply(second)
    book = billers.book(who.biller)
    day = datetime.fromisoformat(book[-1]["at"]).date()
    lines = who.dialect.parse_day_file(await who.dialect.day_file(day))
    result = [
        (e.serial, e.bill_number, e.amount_minor, e.kind, e.occurred_at.isoformat()) for e in lines
    ]
    today = [each for each in book if each["at"].startswith(day.isoformat())]
    assert result == [
        (e["serial"], e["bill_number"], e["amount_minor"], e["kind"], e["at"]) for e in today
    ]
    ours = [(each.serial, each.kind) for each in lines if each.bill_number == who.bill.bill_number]
    assert ours == [(first.serial, "apply"), (first.serial, "unapply"), (second.serial, "apply")]


async def test_with_another_secret_nothing_is_told_and_nothing_happens(
    dialect: str, customer: Customers, billers: SandboxBillers, client: HttpClient
) -> None:
    who = await customer(dialect)
    endpoint = who.dialect.endpoint
    forger = DIALECTS[dialect](
        client, BillerEndpoint(endpoint.biller_id, endpoint.url, "another", "CNY", 5.0)
    )
    assert await forger.lookup(who.account_number) == BillerDown("status 401")
    assert await forger.apply(who.application()) == BillerUnknown("status 401")
    assert await forger.query(who.application()) == BillerUnknown("status 401")
    assert await forger.unapply(who.application()) == BillerUnknown("status 401")
    with pytest.raises(OSError, match="status 401"):
        await forger.day_file(datetime.now(UTC).date())
    assert booked(billers, who) == []


async def test_without_a_secret_nothing_is_sent(
    dialect: str, customer: Customers, client: HttpClient
) -> None:
    who = await customer(dialect)
    endpoint = who.dialect.endpoint
    bare = DIALECTS[dialect](
        client, BillerEndpoint(endpoint.biller_id, endpoint.url, "", "CNY", 5.0)
    )
    assert await bare.lookup(who.account_number) == BillerDown(
        "we share no secret with this biller"
    )
    assert isinstance(await bare.apply(who.application()), BillerUnknown)


async def test_yesterdays_apply_is_not_taken_back(
    dialect: str, client: HttpClient, tmp_path: Path
) -> None:
    biller = SPEAKERS[dialect]
    with SandboxBillers(tmp_path, accounts_per_biller=20) as own:
        connector = speaker(own, client, biller)
        found = await connector.lookup(account := own.accounts(biller)[0])
        assert isinstance(found, Found)
        who = Customer(connector, account, found.bills[0])
        application = who.application(serial=uuid.uuid4().hex)
        assert isinstance(await connector.apply(application), Applied)
        own.advance_clock(86_400)
        assert await connector.unapply(application) == BillerRefused("not_same_day")
        assert isinstance(await connector.query(application), Applied)
