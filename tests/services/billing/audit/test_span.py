"""The audit by spans of time: what is not sealed each time, what is sealed in turn, and no fault is between them."""

from datetime import timedelta

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.audit import audit_job
from services.billing.audit.audit import MOST_NEW, audit_database
from services.billing.audit.by_span import BY_SPAN
from services.billing.audit.current import BUCKETS, CURRENT
from services.billing.audit.span import ALWAYS, END, Span, of_a_span
from services.billing.ledger.seals import SPAN
from tests.services.billing.audit.test_audit import each_fault
from tests.services.billing.ledger.sealing import all_sealed, execute
from tests.services.billing.reconciliation import books

SINCE = books.NOON - timedelta(days=1)
TABLES = ("transfers", "payments", "holds", "refunds", "top_ups", "payment_requests")


@pytest.fixture
async def city(engine: AsyncEngine) -> AsyncEngine:
    """Books with something of everything in them."""
    await books.make_some(engine)
    return engine


async def make_older(owner_engine: AsyncEngine, minutes: int) -> None:
    """Move all rows this far into the past."""
    async with owner_engine.begin() as connection:
        for table in TABLES:
            await connection.execute(
                text(
                    f"UPDATE {table} SET created_at = created_at - :minutes * interval '1 minute'"
                ),
                {"minutes": minutes},
            )


def metric_value(id: str, of: str) -> float | None:
    return REGISTRY.get_sample_value("invariant_violations", {"id": id, "of": of})


@each_fault
async def test_a_fault_is_found_in_its_span(
    city: AsyncEngine, owner_engine: AsyncEngine, invariant: str, fault: str
) -> None:
    async def found(span: Span) -> set[str]:
        return {
            id
            for checks in (of_a_span(CURRENT), of_a_span(BUCKETS), of_a_span(BY_SPAN))
            for id, some in checks.items()
            for check in some
            if (await connection.execute(check, span._asdict())).all()
        }

    async with owner_engine.connect() as connection:
        assert await found(Span(SINCE, END)) == set()
        for statement in fault.split(";\n"):
            await connection.exec_driver_sql(statement)
        assert invariant in await found(Span(SINCE, END))
        elsewhere = await found(Span(ALWAYS.since, SINCE))
        await connection.rollback()
    # An empty span has no transfers, so it says of each balance that it is not what they add up to.
    assert elsewhere - {"balances_match_transfers"} <= CURRENT.keys()


async def test_balances_are_compared_with_sealed_and_unsealed_transfers(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await make_older(owner_engine, 20)
    await all_sealed(city)
    await books.make_some(city)
    assert await audit_database(city, unsealed=True) == []
    await execute(owner_engine, "UPDATE sealed_sums SET balance_minor = balance_minor + 1")
    assert {each.invariant for each in await audit_database(city, unsealed=True)} == {
        "balances_match_transfers"
    }
    assert await audit_database(city) == [], "who reads everything takes nothing for granted"


async def test_an_audit_of_unsealed_rows_does_not_read_sealed_rows(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await make_older(owner_engine, 20)
    await all_sealed(city)
    await execute(owner_engine, "UPDATE transfers SET amount_minor = amount_minor + 1")
    assert await audit_database(city, unsealed=True) == []
    found = {each.invariant for each in await audit_database(city)}
    assert {
        "balances_match_transfers",
        "state_matches_money",
        "sealed_transfers_unchanged",
    } <= found


async def test_an_old_payment_that_is_refunded_now_is_judged(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    (paid,) = await books.pay(city, [700])
    await make_older(owner_engine, 20)
    await all_sealed(city)
    await books.refund(city, paid, 50)
    assert await audit_database(city, unsealed=True) == []
    await execute(owner_engine, "UPDATE payments SET refunded_minor = 49 WHERE amount_minor = 700")
    assert {each.invariant for each in await audit_database(city, unsealed=True)} == {
        "refunds_within_capture"
    }


async def test_a_late_transfer_in_a_sealed_span_is_found(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await make_older(owner_engine, 20)
    await all_sealed(city)
    await books.top_up(city, 300)
    assert await audit_database(city, unsealed=True) == []
    await execute(
        owner_engine,
        "UPDATE transfers SET created_at = now() - interval '20 minutes' WHERE amount_minor = 300",
    )
    found = {each.invariant for each in await audit_database(city, unsealed=True)}
    assert "balances_match_transfers" in found
    assert "sealed_transfers_unchanged" in {each.invariant for each in await audit_database(city)}


async def test_the_job_judges_every_sealed_span_in_its_turn(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await make_older(owner_engine, 10)
    await all_sealed(city)
    judged: set[object] = set()
    await audit_job(city, rest=0.0)
    async with city.connect() as connection:
        new = await connection.scalar(text("SELECT count(*) FROM seals WHERE judged_at IS NULL"))
        assert new == 0, "what is new is judged at once"
        spans = await connection.scalar(text("SELECT count(*) FROM seals"))
        started = await connection.scalar(text("SELECT now()"))
    for _ in range(spans):
        assert await audit_job(city, rest=0.0) == 0
        async with city.connect() as connection:
            rows = await connection.execute(
                text("SELECT since FROM seals WHERE judged_at > :started"), {"started": started}
            )
            now = set(rows.scalars())
        assert len(now - judged) == 1, "one of so few each time, and none twice"
        judged |= now
    assert len(judged) == spans > 5


async def test_an_alarm_about_sealed_rows_lasts_until_they_are_mended(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await make_older(owner_engine, 10)
    await all_sealed(city)
    await execute(
        owner_engine, "UPDATE transfers SET amount_minor = amount_minor + 1 WHERE kind = 'top_up'"
    )
    async with city.connect() as connection:
        spans = await connection.scalar(text("SELECT count(*) FROM seals"))
    for _ in range(spans):
        await audit_job(city, rest=0.0)
    assert metric_value("sealed_transfers_unchanged", "sealed") == 1
    assert metric_value("state_matches_money", "sealed") == 1
    await audit_job(city, rest=0.0)
    assert metric_value("sealed_transfers_unchanged", "sealed") == 1
    await execute(
        owner_engine, "UPDATE transfers SET amount_minor = amount_minor - 1 WHERE kind = 'top_up'"
    )
    await audit_job(city, rest=0.0)
    assert metric_value("sealed_transfers_unchanged", "sealed") == 0
    assert metric_value("state_matches_money", "sealed") == 0


async def test_spans_that_follow_each_other_are_judged_together(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await make_older(owner_engine, 20)
    await all_sealed(city)
    async with owner_engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE seals SET faults = 1 WHERE since < (SELECT min(since) FROM seals) + 3 * CAST(:span AS interval)"
            ),
            {"span": SPAN},
        )
    await audit_job(city, rest=0.0)
    async with city.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM seals WHERE faults > 0")) == 0


async def test_of_many_new_seals_the_newest_are_judged_first(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    await make_older(owner_engine, MOST_NEW + 10)
    await all_sealed(city)
    await audit_job(city, rest=0.0)
    async with city.connect() as connection:
        rows = await connection.execute(
            text("SELECT judged_at IS NOT NULL FROM seals ORDER BY since DESC")
        )
        judged = list(rows.scalars())
    assert len(judged) > MOST_NEW + 5
    assert judged == [True] * MOST_NEW + [False] * (len(judged) - MOST_NEW)


async def test_a_sealed_span_is_judged_again_when_its_promises_are_due(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    """It was judged when it was sealed, and then they were too young; the alarm lasts until the promise is kept."""
    await make_older(owner_engine, 30)
    await execute(
        owner_engine,
        "INSERT INTO payment_requests (id, kind, channel_id, payer, amount_minor, currency, created_at)"
        " VALUES (gen_random_uuid(), 'top_up', 'app', 'p', 1, 'CNY', now() - interval '18 minutes')",
    )
    await all_sealed(city)
    await execute(owner_engine, "UPDATE seals SET judged_at = until + interval '2 minutes'")
    await audit_job(city, rest=0.0)
    assert (
        metric_value("promises_are_kept", "sealed"),
        metric_value("promises_are_kept", "unsealed"),
    ) == (1, 0)
    async with city.connect() as connection:
        late = (
            "SELECT count(*) FROM seals WHERE until < now() - interval '15 minutes'"
            " AND judged_at < until + interval '15 minutes'"
        )
        assert await connection.scalar(text(late)) == 0, "each of them once"
    await audit_job(city, rest=0.0)
    assert metric_value("promises_are_kept", "sealed") == 1
    await execute(
        owner_engine,
        "UPDATE payment_requests SET failed_at = now(), reason = 'x' WHERE payer = 'p'",
    )
    await audit_job(city, rest=0.0)
    assert metric_value("promises_are_kept", "sealed") == 0
