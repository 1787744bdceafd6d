"""Receipts are issued in sets, once per payment, and voided once, in the transaction that moves the payment."""

from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing import receipts
from services.billing.receipts.verify import find, find_of_payment
from tests.services.billing.receipts.plant import PAID, Paid, plant, refund


async def stored(engine: AsyncEngine) -> list[tuple[str, int, str | None]]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT number, amount_minor, void_reason FROM receipts ORDER BY amount_minor")
        )
        return [tuple(row) for row in rows]


async def test_a_set_is_one_statement_and_its_numbers_stand_in_its_order(
    engine: AsyncEngine,
) -> None:
    payments = [Paid(amount_minor=n, at=PAID + timedelta(days=n)) for n in range(1, 501)]
    statements: list[str] = []
    event.listen(
        engine.sync_engine, "before_cursor_execute", lambda *args: statements.append(args[2])
    )
    async with engine.begin() as connection:
        numbers = await receipts.issue(connection, [each.receipt for each in payments])
    assert len(statements) == 1
    assert numbers == [receipts.number_of(each.id, each.at) for each in payments]
    assert await stored(engine) == [
        (number, each.amount_minor, None) for number, each in zip(numbers, payments, strict=True)
    ]


async def test_a_payment_has_one_receipt(engine: AsyncEngine) -> None:
    paid, other = Paid(amount_minor=1), Paid(amount_minor=2)
    async with engine.begin() as connection:
        await plant(connection, paid)
    with pytest.raises(IntegrityError, match="pk_receipts"):
        async with engine.begin() as connection:
            await receipts.issue(connection, [other.receipt, paid.receipt])
    assert [amount for _, amount, _ in await stored(engine)] == [1]


async def test_a_number_of_another_payment_is_never_taken_silently(engine: AsyncEngine) -> None:
    late = Paid()
    number = receipts.number_of(late.id, late.at)
    async with engine.begin() as connection:
        await receipts.issue(connection, [Paid().receipt])
        await connection.execute(
            text("""
                INSERT INTO receipts (number, payment_id, biller_id, account_id, bill_number, period, amount_minor,
                    currency, issued_at)
                VALUES (:number, gen_random_uuid(), 'b', gen_random_uuid(), '', '', 1, 'CNY', now())
            """),
            {"number": number},
        )
    with pytest.raises(IntegrityError, match="pk_receipts"):
        async with engine.begin() as connection:
            await receipts.issue(connection, [Paid().receipt, late.receipt])
    assert len(await stored(engine)) == 2


async def test_nothing_remains_of_a_transaction_that_fails(engine: AsyncEngine) -> None:
    with pytest.raises(ZeroDivisionError):
        async with engine.begin() as connection:
            await plant(connection, Paid())
            raise ZeroDivisionError
    assert await stored(engine) == []


async def test_an_empty_set_runs_no_statement(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        assert await receipts.issue(connection, []) == []
        assert await receipts.void(connection, {}, "refunded") == {}


async def test_voiding_returns_the_newly_void_numbers_and_keeps_the_first_reason(
    engine: AsyncEngine,
) -> None:
    one, two, never = Paid(amount_minor=1), Paid(amount_minor=2, account_number="2"), uuid7()
    async with engine.begin() as connection:
        first, second = await plant(connection, one, two)
    async with engine.begin() as connection:
        assert await receipts.void(connection, {one.id: one.at, never: PAID}, "reversed") == {
            one.id: first
        }
    async with engine.begin() as connection:
        assert await receipts.void(connection, {two.id: two.at, one.id: one.at}, "refunded") == {
            two.id: second
        }
    assert await stored(engine) == [(first, 1, "reversed"), (second, 2, "refunded")]


async def test_a_receipt_is_found_by_its_number_and_by_its_payment(engine: AsyncEngine) -> None:
    paid = Paid(account_number="3301064417")
    async with engine.begin() as connection:
        (number,) = await plant(connection, paid)
        found = await find(connection, number)
        assert found is not None
        assert found == await find_of_payment(connection, paid.id, paid.channel)
        assert await find_of_payment(connection, paid.id, "another") is None
        assert await find_of_payment(connection, uuid7(), paid.channel) is None
        assert await find(connection, "2" * 24) is None
    assert (found.account_ending, found.amount_minor, found.state) == ("4417", 8850, "valid")
    assert found.issued_at == paid.at


@pytest.mark.parametrize(
    ("account_number", "shown"), [("3301064417", "4417"), ("12345", "45"), ("123", "3"), ("1", "")]
)
async def test_of_an_account_number_no_more_than_half_is_read(
    engine: AsyncEngine, account_number: str, shown: str
) -> None:
    async with engine.begin() as connection:
        (number,) = await plant(connection, Paid(account_number=account_number))
        found = await find(connection, number)
    assert found is not None
    assert found.account_ending == shown


async def test_the_state_follows_the_money(engine: AsyncEngine) -> None:
    paid = Paid(amount_minor=300)
    reversed_ = replace(paid, id=uuid7(), account_id=uuid7(), account_number="2")
    states = []
    async with engine.begin() as connection:
        number, other = await plant(connection, paid, reversed_)
        for amount in (100, 50, 150):
            await refund(connection, paid, amount)
            found = await find(connection, number)
            assert found is not None
            states.append((found.state, found.refunded_minor))
        await receipts.void(connection, {reversed_.id: reversed_.at}, "reversed")
        found = await find(connection, other)
    assert states == [("partially_refunded", 100), ("partially_refunded", 150), ("refunded", 300)]
    assert found is not None
    assert found.state == "reversed"
