"""Matches and breaks, and how they change with new evidence."""

from datetime import timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import derived_id, uuid7
from services.billing.payments.model import serial_of
from services.billing.reconciliation import Source, list_breaks, reconcile
from services.billing.reconciliation.lines import PSP, Line
from tests.services.billing.reconciliation import books
from tests.services.billing.reconciliation.books import DAY, NOON, WATER, apply, charge, unapply

NEXT = DAY + timedelta(days=1)


async def test_a_day_that_agrees_has_no_break(engine: AsyncEngine) -> None:
    paid = await books.pay(engine, [100, 200, 300])
    topped = await books.top_up(engine, 5_000)
    back = await books.refund(engine, paid[2], 300)
    charges = [charge(id, amount) for id, amount in zip(paid, [100, 200, 300], strict=True)]
    await books.keep(
        engine, [*charges, books.top_up_line(topped, 5_000), books.refund_line(back, 300)]
    )
    applies = [apply(id, amount) for id, amount in zip(paid, [100, 200, 300], strict=True)]
    await books.keep(engine, [*applies, unapply(paid[2], 300)], source=WATER)
    found = await reconcile(engine, DAY)
    assert found.agrees
    expected = {
        str(each.source): (each.lines, each.transfers, each.matched) for each in found.sources
    }
    assert expected == {"psp:stripe": (5, 5, 5), "hz-water": (4, 4, 4)}


async def test_a_missing_line_is_a_break_that_the_next_statement_resolves(
    engine: AsyncEngine,
) -> None:
    paid = (await books.pay(engine, [100], at=books.just_before_midnight()))[0]
    await books.keep(engine, [])
    await books.keep(engine, [], source=WATER)
    found = await reconcile(engine, DAY)
    assert not found.agrees
    assert await books.open_breaks(engine) == [
        ("missing_external", "apply", serial_of(paid)),
        ("missing_external", "charge", str(paid)),
    ]
    await books.keep(engine, [charge(paid, 100, at=books.just_after_midnight())], day=NEXT)
    await books.keep(engine, [apply(paid, 100)], source=WATER, day=NEXT)
    assert (await reconcile(engine, NEXT)).agrees
    async with engine.connect() as connection:
        closed = await list_breaks(connection, resolved=True)
    assert [(each.state, each.day, each.closed_at is None) for each in closed] == [
        ("resolved", DAY, False)
    ] * 2


async def test_lines_booked_on_two_sides_of_midnight_are_no_break_on_either_day(
    engine: AsyncEngine,
) -> None:
    paid = (await books.pay(engine, [100], at=books.just_after_midnight()))[0]
    await books.keep(engine, [charge(paid, 100, at=books.just_before_midnight())])
    await books.keep(engine, [apply(paid, 100)], source=WATER)
    assert (await reconcile(engine, DAY)).agrees
    await books.keep(engine, [], day=NEXT)
    await books.keep(engine, [], source=WATER, day=NEXT)
    assert (await reconcile(engine, NEXT)).agrees


async def test_a_capture_of_a_payment_that_is_unknown_resolves_when_it_is_recorded(
    engine: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    (unknown,) = await books.pay(engine, [100], state="applied")
    await books.keep(engine, [charge(unknown, 100)])
    await books.keep(engine, [apply(unknown, 100)], source=WATER)
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine) == [
        ("missing_internal", "apply", serial_of(unknown)),
        ("missing_internal", "charge", str(unknown)),
    ]
    await books.book_payments(engine, [unknown], [100], at=books.just_after_midnight())
    assert (await reconcile(engine, DAY)).agrees


async def test_two_equal_lines_are_one_match_and_one_duplicate(engine: AsyncEngine) -> None:
    paid = (await books.pay(engine, [100]))[0]
    await books.keep(engine, [charge(paid, 100), charge(paid, 100)])
    await books.keep(engine, [apply(paid, 100)] * 3, source=WATER)
    found = await reconcile(engine, DAY)
    assert [each.matched for each in found.sources] == [1, 1]
    assert await books.open_breaks(engine) == [
        ("duplicate", "apply", serial_of(paid)),
        ("duplicate", "apply", serial_of(paid)),
        ("duplicate", "charge", str(paid)),
    ]


async def test_a_line_that_comes_again_the_next_day_is_a_duplicate(engine: AsyncEngine) -> None:
    paid = (await books.pay(engine, [100]))[0]
    await books.keep(engine, [charge(paid, 100)])
    await books.keep(engine, [apply(paid, 100)], source=WATER)
    assert (await reconcile(engine, DAY)).agrees
    await books.keep(engine, [charge(paid, 100)], day=NEXT)
    await reconcile(engine, NEXT)
    assert await books.open_breaks(engine) == [("duplicate", "charge", str(paid))]


async def test_another_amount_or_currency_is_one_break_with_both_sides(
    engine: AsyncEngine,
) -> None:
    first, second = await books.pay(engine, [100, 200])
    await books.keep(engine, [charge(first, 99), charge(second, 200, currency="HKD")])
    await books.keep(engine, [apply(first, 100), apply(second, 200)], source=WATER)
    await reconcile(engine, DAY)
    async with engine.connect() as connection:
        found = await list_breaks(connection)
    expected = {
        each.type: (
            each.theirs_minor,
            each.theirs_currency,
            each.ours_minor,
            each.ours_currency,
            each.transfer_id,
        )
        for each in found
    }
    assert expected == {
        "amount": (99, "CNY", 100, "CNY", first),
        "currency": (200, "HKD", 200, "CNY", second),
    }


async def test_applied_and_unapplied_without_a_payment_nets_out(engine: AsyncEngine) -> None:
    """Applied, then the capture was refused: the biller took its mark back and no money moved."""
    (voided,) = await books.pay(engine, [100], state="voided")
    await books.keep(engine, [apply(voided, 100), unapply(voided, 100)], source=WATER)
    found = await reconcile(engine, DAY)
    assert found.agrees
    assert found.sources[1].matched == 2


async def test_a_netted_pair_over_midnight_is_a_break_until_the_second_half_comes(
    engine: AsyncEngine,
) -> None:
    (voided,) = await books.pay(engine, [100], state="voided")
    await books.keep(engine, [apply(voided, 100)], source=WATER)
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine) == [("missing_internal", "apply", serial_of(voided))]
    await books.keep(engine, [unapply(voided, 100)], source=WATER, day=NEXT)
    assert (await reconcile(engine, NEXT)).agrees


async def test_a_part_refunded_has_no_line_and_the_rest_unapplies_the_whole(
    engine: AsyncEngine,
) -> None:
    paid = (await books.pay(engine, [100], funding="psp"))[0]
    part = await books.refund(engine, paid, 30)
    await books.keep(engine, [charge(paid, 100), books.refund_line(part, 30)])
    await books.keep(engine, [apply(paid, 100)], source=WATER)
    assert (await reconcile(engine, DAY)).agrees, "a part is netted with the remittance"
    rest = await books.refund(engine, paid, 70, at=NOON + timedelta(days=1))
    await books.keep(engine, [books.refund_line(rest, 70)], day=NEXT)
    await books.keep(engine, [], source=WATER, day=NEXT)
    await reconcile(engine, NEXT)
    assert await books.open_breaks(engine) == [("missing_external", "unapply", serial_of(paid))]
    await books.keep(engine, [unapply(paid, 100)], source=WATER, day=NEXT)
    assert (await reconcile(engine, NEXT)).agrees
    async with engine.connect() as connection:
        consumed = await connection.scalars(
            text(
                "SELECT transfer_id FROM matches WHERE source = 'biller' AND released_at IS NULL"
                " AND transfer_id = ANY(:ids)"
            ),
            {"ids": [derived_id("refund", part), derived_id("refund", rest)]},
        )
        assert len(set(consumed)) == 2


async def test_a_refund_that_fails_later_leaves_its_failure_open(engine: AsyncEngine) -> None:
    paid = (await books.pay(engine, [100, 100]))[0]
    booked, never = await books.refund(engine, paid, 100), uuid7()
    other = (await books.pay(engine, [50], biller="gas"))[0]
    failures = [
        Line("refund_failure", str(id), id, 100, "CNY", NOON, {"id": "txn"})
        for id in (booked, never)
    ]
    lines = [books.refund_line(booked, 100), books.refund_line(never, 100), *failures]
    await books.keep(engine, [*lines, charge(other, 50)])
    await reconcile(engine, DAY)
    of_refunds = [each for each in await books.open_breaks(engine, PSP) if "refund" in each[1]]
    assert of_refunds == [("missing_internal", "refund_failure", str(booked))]


async def test_the_same_statement_twice_and_a_run_twice_change_nothing(
    engine: AsyncEngine,
) -> None:
    paid = await books.pay(engine, [100, 200, 300])
    lines = [charge(paid[0], 100), charge(paid[1], 201), charge(uuid7(), 5)]
    await books.keep(engine, lines)
    first = await reconcile(engine, DAY)
    before = await books.everything(engine)
    again = await books.keep(engine, list(reversed(lines)))
    assert (again.changed, again.version) == (False, 1)
    assert await reconcile(engine, DAY) == first
    assert await books.everything(engine) == before


async def test_a_changed_statement_supersedes_and_its_lines_are_matched_again(
    engine: AsyncEngine,
) -> None:
    first, second = await books.pay(engine, [100, 200])
    await books.keep(engine, [apply(first, 100), apply(second, 200)], source=WATER)
    await books.keep(engine, [charge(first, 100), charge(second, 200)])
    assert (await reconcile(engine, DAY)).agrees
    changed = await books.keep(engine, [charge(first, 100), charge(second, 150)])
    assert (changed.changed, changed.version) == (True, 2)
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine) == [("amount", "charge", str(second))]
    # Taken back again: the third version says what the first did, and the break resolves.
    third = await books.keep(engine, [charge(first, 100), charge(second, 200)])
    assert third.version == 3
    assert (await reconcile(engine, DAY)).agrees
    # And once more wrong: the same break opens again instead of a second one.
    await books.keep(engine, [charge(first, 100), charge(second, 150)])
    await reconcile(engine, DAY)
    async with engine.connect() as connection:
        (reopened,) = await list_breaks(connection)
        versions = await connection.scalar(text("SELECT count(*) FROM statements"))
    assert reopened.reopened_at is not None
    assert versions == 5, "every version is kept"


async def test_matches_of_a_superseded_statement_on_another_day_are_judged_again(
    engine: AsyncEngine,
) -> None:
    """Ours of DAY stood in their statement of NEXT, which then changes its mind."""
    paid = (await books.pay(engine, [100], biller="gas"))[0]
    gas = Source("biller", "gas")
    await books.keep(engine, [apply(paid, 100)], source=gas)
    await books.keep(engine, [])
    await reconcile(engine, DAY)
    await books.keep(engine, [charge(paid, 100)], day=NEXT)
    assert (await reconcile(engine, NEXT)).agrees
    await books.keep(engine, [], day=NEXT)
    await reconcile(engine, DAY)  # whichever day is run: the changed one is judged again, too
    assert await books.open_breaks(engine) == [("missing_external", "charge", str(paid))]


async def test_a_judged_day_whose_statement_changed_is_judged_again_by_the_run_of_any_day(
    engine: AsyncEngine,
) -> None:
    await books.keep(engine, [])
    await reconcile(engine, DAY)
    stranger = uuid7()
    await books.keep(engine, [charge(stranger, 100)])
    # NEXT is not over yet: no run judges the lines that are imported so far.
    for amount in (1, 2):
        await books.keep(engine, [charge(uuid7(), amount)], day=NEXT)
    await reconcile(engine, DAY - timedelta(days=1))
    assert await books.open_breaks(engine) == [("missing_internal", "charge", str(stranger))]


async def test_a_later_event_of_a_payment_is_judged_with_its_own_day(
    engine: AsyncEngine,
) -> None:
    paid = (await books.pay(engine, [100]))[0]
    await books.refund(engine, paid, 100, at=NOON + timedelta(days=1))
    await books.keep(engine, [charge(paid, 100)])
    await books.keep(engine, [apply(paid, 100)], source=WATER)
    assert (await reconcile(engine, DAY)).agrees, "the unapply is the next day's"


async def test_a_day_without_a_statement_is_one_break_until_it_comes(engine: AsyncEngine) -> None:
    paid = await books.pay(engine, [100, 200])
    found = await reconcile(engine, DAY)
    assert [each.has_statement for each in found.sources] == [False, False]
    assert await books.open_breaks(engine) == [
        ("missing_statement", "statement", str(DAY)),
        ("missing_statement", "statement", str(DAY)),
    ]
    await books.keep(engine, [charge(paid[0], 100), charge(paid[1], 200)])
    await books.keep(engine, [apply(paid[0], 100), apply(paid[1], 200)], source=WATER)
    assert (await reconcile(engine, DAY)).agrees


async def test_a_line_of_another_billers_payment_matches_nothing(engine: AsyncEngine) -> None:
    paid = (await books.pay(engine, [100]))[0]
    await books.keep(engine, [charge(paid, 100)])
    await books.keep(engine, [apply(paid, 100)], source=Source("biller", "gas"))
    await books.keep(engine, [], source=WATER)
    await reconcile(engine, DAY)
    assert await books.open_breaks(engine) == [
        ("missing_external", "apply", serial_of(paid)),
        ("missing_internal", "apply", serial_of(paid)),
    ]
