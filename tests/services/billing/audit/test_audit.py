"""The auditor: books written by the use cases hold every invariant, and each planted fault is found and named."""

import time

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.audit import audit, audit_job
from services.billing.audit.audit import IDS, audit_database
from services.billing.audit.names import MEANINGS, SEALS
from tests.services.billing.reconciliation import books

_OLD = "created_at = now() - interval '16 minutes'"
_PROMISE = """
    INSERT INTO payment_requests (id, kind, channel_id, payer, subject, amount_minor, currency, created_at)
    VALUES (gen_random_uuid(), '{kind}', 'app', 'payer', {subject}, 5, 'CNY', {at})
"""
# What is planted, per invariant. Constraints are taken away first: the audit has to see what they would stop.
FAULTS: dict[str, list[str]] = {
    "transfers_balance": [
        "UPDATE transfers SET currency = 'HKD' WHERE kind = 'top_up'",
        "UPDATE transfers SET debit_account = -1 WHERE kind = 'pay_bill'",
        "UPDATE transfers SET credit_account = -1 WHERE kind = 'pay_bill'",
    ],
    "balances_sum_to_zero": [
        "UPDATE ledger_accounts SET balance_minor = balance_minor + 1 WHERE address = 'biller:hz-water:payable'"
    ],
    "no_wallet_overdrawn": [
        """ALTER TABLE ledger_accounts DROP CONSTRAINT ck_ledger_accounts_no_overdraft;
           UPDATE ledger_accounts SET balance_minor = -1 WHERE address LIKE 'wallet:%'""",
        "UPDATE ledger_accounts SET no_overdraft = false WHERE address LIKE 'wallet:%'",
    ],
    "balances_match_transfers": [
        "UPDATE ledger_accounts SET held_minor = held_minor + 1 WHERE address LIKE 'wallet:%'",
        "UPDATE transfers SET amount_minor = amount_minor + 1 WHERE kind = 'top_up'",
    ],
    "state_matches_money": [
        "UPDATE payments SET captured_minor = captured_minor - 1 WHERE state = 'succeeded'",
        """ALTER TABLE payments DISABLE TRIGGER USER;
           UPDATE payments SET state = 'refunded' WHERE state = 'succeeded'""",
        """INSERT INTO holds (id, account, amount_minor, state, ended_at)
           SELECT p.id, a.id, 1, 'voided', now() FROM payments p, ledger_accounts a
           WHERE p.state = 'applied' AND a.address LIKE 'wallet:%'""",
        "DELETE FROM transfers WHERE kind = 'top_up'",
    ],
    "refunds_within_capture": [
        """ALTER TABLE payments DROP CONSTRAINT ck_payments_refunds_within_capture;
           UPDATE payments SET refunded_minor = captured_minor + 1 WHERE state = 'partially_refunded'""",
        "UPDATE refunds SET amount_minor = amount_minor + 1",
        "UPDATE payments SET refund_pending_minor = 1 WHERE state = 'partially_refunded'",
    ],
    "receipt_for_money_taken": [
        "DELETE FROM receipts WHERE voided_at IS NULL",
        """INSERT INTO receipts
           SELECT '20261123ABCDABCDABCDABCD', payment_id, biller_id, account_id, bill_number, period, amount_minor,
               currency, issued_at FROM receipts WHERE voided_at IS NULL LIMIT 1""",
        "UPDATE receipts SET voided_at = NULL, void_reason = NULL",
        "UPDATE receipts SET amount_minor = amount_minor + 1",
    ],
    "one_live_payment_per_bill": [
        """DROP INDEX uq_payments_live_bill;
           UPDATE payments SET bill_id = (SELECT bill_id FROM payments WHERE state = 'succeeded' LIMIT 1)"""
    ],
    "events_published_in_time": [
        """INSERT INTO outbox (event_id, topic, key, sequence, type, created_at)
           VALUES (gen_random_uuid(), 4, 'k', 1, 'x', now() - interval '2 minutes')""",
    ],
    "events_numbered_without_gap": [
        """INSERT INTO outbox (event_id, topic, key, sequence, type)
           VALUES (gen_random_uuid(), 4, 'k', 1, 'x'), (gen_random_uuid(), 4, 'k', 3, 'x')""",
        """INSERT INTO outbox (event_id, topic, key, sequence, type)
           VALUES (gen_random_uuid(), 4, 'k', 1, 'x'), (gen_random_uuid(), 4, 'k', 1, 'x')""",
    ],
    "open_work_is_followed_up": [
        "UPDATE payments SET created_at = now() - interval '26 hours' WHERE state = 'applied'",
        "UPDATE errands SET due_at = now() - interval '16 minutes'",
        "DELETE FROM errands",
        "INSERT INTO errands (kind, subject, institution, leg) VALUES ('payment', gen_random_uuid(), 'psp', 'void')",
        "UPDATE refunds SET state = 'accepted', finished_at = NULL",
    ],
    "promises_are_kept": [
        _PROMISE.format(
            kind="payment", subject="gen_random_uuid()", at="now() - interval '16 minutes'"
        ),
        _PROMISE.format(
            kind="refund", subject="gen_random_uuid()", at="now() - interval '16 minutes'"
        ),
        _PROMISE.format(kind="top_up", subject="NULL", at="now() - interval '16 minutes'"),
        # What another channel has accepted under the id keeps no promise.
        f"UPDATE payment_requests SET channel_id = 'b', {_OLD} WHERE kind = 'payment'",
        f"UPDATE payment_requests SET channel_id = 'b', {_OLD} WHERE kind = 'refund'",
        f"UPDATE payment_requests SET channel_id = 'b', {_OLD} WHERE kind = 'top_up'",
        f"UPDATE payment_requests SET kind = 'top_up', {_OLD} WHERE kind = 'payment'",
        "UPDATE payment_requests SET amount_minor = amount_minor + 1 WHERE kind = 'payment'",
        "UPDATE payment_requests SET currency = 'HKD' WHERE kind = 'payment'",
        "UPDATE payment_requests SET subject = gen_random_uuid() WHERE kind = 'payment'",
        "UPDATE payment_requests SET payer = 'other' WHERE kind = 'payment'",
        "UPDATE payment_requests SET amount_minor = amount_minor + 1 WHERE kind = 'top_up'",
        "UPDATE payment_requests SET currency = 'HKD' WHERE kind = 'top_up'",
        "UPDATE payment_requests SET payer = 'other' WHERE kind = 'top_up'",
        "UPDATE payment_requests SET subject = gen_random_uuid() WHERE kind = 'refund'",
    ],
    "no_orphan_rows": [
        "UPDATE payments SET bill_id = gen_random_uuid() WHERE state = 'applied'",
        "UPDATE payments SET account_id = gen_random_uuid() WHERE state = 'applied'",
        "UPDATE receipts SET payment_id = gen_random_uuid() WHERE voided_at IS NOT NULL",
        "DELETE FROM refunds",
        "DELETE FROM top_ups",
        "INSERT INTO cases (subject, subject_kind, kind, note) VALUES (gen_random_uuid(), 'refund', 'x', 'x')",
        """INSERT INTO holds (id, account, amount_minor, state, ended_at)
           SELECT gen_random_uuid(), id, 1, 'voided', now() FROM ledger_accounts LIMIT 1""",
        """INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, occurred_at)
           SELECT gen_random_uuid(), 'psp_fee', min(id), max(id), 1, 'CNY', now() FROM ledger_accounts""",
        """INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, occurred_at)
           SELECT gen_random_uuid(), 'late_capture', min(id), max(id), 1, 'CNY', now() FROM ledger_accounts""",
        """INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, occurred_at)
           SELECT gen_random_uuid(), 'refund_returned', min(id), max(id), 1, 'CNY', now() FROM ledger_accounts""",
    ],
}

each_fault = pytest.mark.parametrize(
    ("invariant", "fault"),
    [
        pytest.param(id, fault, id=f"{id}-{number}")
        for id, faults in FAULTS.items()
        for number, fault in enumerate(faults, 1)
    ],
)


@pytest.fixture
async def city(engine: AsyncEngine) -> AsyncEngine:
    """Books with something of everything in them."""
    await books.make_some(engine)
    return engine


def test_every_invariant_has_a_fault_and_a_name_in_words() -> None:
    assert FAULTS.keys() == set(IDS)
    assert MEANINGS.keys() == {*IDS, SEALS}
    assert len(set(MEANINGS.values())) == len(MEANINGS)


async def test_good_books_hold_every_invariant(city: AsyncEngine) -> None:
    assert await audit_database(city) == []


@each_fault
async def test_a_planted_fault_is_found(
    city: AsyncEngine, owner_engine: AsyncEngine, invariant: str, fault: str
) -> None:
    async with owner_engine.connect() as connection:
        assert await audit(connection) == []
        for statement in fault.split(";\n"):
            await connection.exec_driver_sql(statement)
        found = await audit(connection)
        await connection.rollback()
    assert invariant in {each.invariant for each in found}
    assert all(each.subject and each.what for each in found)


async def test_the_job_sets_metrics_and_does_not_run_again_at_once(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    def metric_value() -> float | None:
        return REGISTRY.get_sample_value(
            "invariant_violations", {"id": "balances_sum_to_zero", "of": "unsealed"}
        )

    assert await audit_job(city) == 0
    assert metric_value() == 0
    async with owner_engine.begin() as connection:
        await connection.execute(text(FAULTS["balances_sum_to_zero"][0]))
    assert await audit_job(city) == 0
    assert metric_value() == 1


@pytest.mark.alone
async def test_the_job_rests_after_each_statement(city: AsyncEngine) -> None:
    async def seconds(rest: float) -> float:
        began = time.monotonic()
        await audit_job(city, rest)
        return time.monotonic() - began

    at_work = min([await seconds(0.0) for _ in range(3)])
    assert await seconds(9.0) > 5 * at_work


async def test_a_promise_that_is_young_or_has_failed_is_no_fault(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    async with owner_engine.begin() as connection:
        young = {"at": "now() - interval '14 minutes'", "subject": "gen_random_uuid()"}
        old = {"at": "now() - interval '20 minutes'", "subject": "gen_random_uuid()"}
        for kind in ("payment", "refund", "top_up"):
            await connection.execute(text(_PROMISE.format(kind=kind, **young)))
            await connection.execute(text(_PROMISE.format(kind=kind, **old)))
        assert len(await audit(connection)) == 3
        await connection.execute(
            text(
                "UPDATE payment_requests SET failed_at = now(), reason = 'x'"
                " WHERE created_at < now() - interval '15 minutes'"
            )
        )
        # A refund of all that was left became another amount; what has failed is compared with nothing.
        await connection.execute(
            text("UPDATE payment_requests SET amount_minor = 7 WHERE kind = 'refund'")
        )
        await connection.execute(
            text(
                "UPDATE payment_requests SET amount_minor = 7, failed_at = now(), reason = 'x' WHERE kind = 'top_up'"
            )
        )
    assert await audit_database(city) == []


async def test_a_closed_case_does_not_excuse_an_overdue_payment(
    city: AsyncEngine, owner_engine: AsyncEngine
) -> None:
    async with owner_engine.begin() as connection:
        await connection.execute(text(FAULTS["open_work_is_followed_up"][0]))
        await connection.execute(
            text(
                "INSERT INTO cases (subject, subject_kind, kind, note)"
                " SELECT id, 'payment', 'x', 'x' FROM payments WHERE state = 'applied'"
            )
        )
    assert await audit_database(city) == []
    async with owner_engine.begin() as connection:
        await connection.execute(text("UPDATE cases SET closed_at = now()"))
    assert [each.invariant for each in await audit_database(city)] == ["open_work_is_followed_up"]
