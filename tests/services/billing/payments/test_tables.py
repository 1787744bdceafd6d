"""The tables refuse undeclared changes of state, impossible rows, and writes beyond the application's rights."""

from itertools import product

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.payments.tables import OPEN, TRANSITIONS, State

CAPTURED = ("succeeded", "partially_refunded", "refunded", "reversed")


async def plant(engine: AsyncEngine, state: str) -> None:
    """One payment in this state."""
    async with engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO payments (id, channel_id, payer, bill_id, amount_minor, currency, funding, request_hash,
                    state, version, captured_minor, finished_at)
                VALUES (gen_random_uuid(), 'app', 'p', gen_random_uuid(), 100, 'CNY', 'wallet', '', :state, 1,
                    CASE WHEN :captured THEN 100 ELSE 0 END, CASE WHEN :open THEN NULL ELSE now() END)
            """),
            {"state": state, "captured": state in CAPTURED, "open": state in OPEN},
        )


async def test_only_declared_changes_of_state_exist(owner_engine: AsyncEngine) -> None:
    """Every pair of states, as the owner: the trigger and TRANSITIONS say the same."""
    for state in State:
        await plant(owner_engine, state)
    allowed = set()
    for before, after in product(State, State):
        if before == after:
            continue
        try:
            async with owner_engine.begin() as connection:
                await connection.execute(
                    text("""
                        UPDATE payments SET state = :after,
                            captured_minor = CASE WHEN :captured THEN 100 ELSE 0 END,
                            finished_at = CASE WHEN :open THEN NULL ELSE now() END
                        WHERE state = :before
                    """),
                    {
                        "before": before,
                        "after": after,
                        "captured": after in CAPTURED,
                        "open": after in OPEN,
                    },
                )
                allowed.add((before, after))
                await connection.rollback()
        except IntegrityError as error:
            assert "can not go from" in str(error)
    assert allowed == {(before, after) for before in TRANSITIONS for after in TRANSITIONS[before]}


@pytest.mark.parametrize(
    ("state", "change", "constraint"),
    [
        ("accepted", "amount_minor = 0", "amount_is_positive"),
        ("accepted", "funding = 'cash'", "funding_is_declared"),
        ("accepted", "captured_minor = 100", "captured_when_succeeded"),
        ("succeeded", "captured_minor = 0", "captured_when_succeeded"),
        ("succeeded", "refunded_minor = 101", "refunds_within_capture"),
        ("succeeded", "refunded_minor = 60, refund_pending_minor = 41", "refunds_within_capture"),
        ("succeeded", "refund_pending_minor = -1", "refunds_within_capture"),
        ("succeeded", "finished_at = NULL", "finished_once"),
        ("accepted", "finished_at = now()", "finished_once"),
    ],
)
async def test_impossible_rows_are_refused(
    owner_engine: AsyncEngine, state: str, change: str, constraint: str
) -> None:
    await plant(owner_engine, state)
    with pytest.raises(IntegrityError, match=f"ck_payments_{constraint}"):
        async with owner_engine.begin() as connection:
            await connection.execute(text(f"UPDATE payments SET {change}"))


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM payments",
        "UPDATE payments SET amount_minor = 1",
        "UPDATE payments SET payer = 'me'",
        "UPDATE payments SET request_hash = ''",
        "UPDATE payments SET created_at = now()",
        "ALTER TABLE payments DISABLE TRIGGER ALL",
        "UPDATE refunds SET amount_minor = 1",
        "DELETE FROM refunds",
        "UPDATE top_ups SET amount_minor = 1",
        "DELETE FROM outside_calls",
        "UPDATE outside_calls SET outcome = 'Captured'",
        "DELETE FROM cases",
        "UPDATE cases SET note = ''",
        "DELETE FROM psp_webhooks",
    ],
)
async def test_the_application_may_not_change_a_stored_command(
    engine: AsyncEngine, statement: str
) -> None:
    with pytest.raises(DBAPIError, match=r"permission denied|must be owner"):
        async with engine.begin() as connection:
            await connection.execute(text(statement))


async def test_one_open_case_of_a_kind_and_another_one_after_it_was_closed(
    engine: AsyncEngine,
) -> None:
    one = (
        "INSERT INTO cases (subject, subject_kind, kind, note) VALUES (:id, 'payment', 'refund', 'n')"
        " ON CONFLICT DO NOTHING"
    )
    id = "00000000-0000-7000-8000-000000000001"
    async with engine.begin() as connection:
        for _ in range(2):
            await connection.execute(text(one), {"id": id})
        await connection.execute(text("UPDATE cases SET closed_at = now()"))
        await connection.execute(text(one), {"id": id})
        assert await connection.scalar(text("SELECT count(*) FROM cases")) == 2
