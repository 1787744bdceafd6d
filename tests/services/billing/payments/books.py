"""An auditor's questions to the books, as SQL that returns violations: without rows all is well."""

from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.bills.connectors import Application
from services.billing.payments.model import serial_of
from services.billing.payments.tables import HOLDS_ITS_BILL
from services.billing.receipts import number_of

WRONG = {
    "all balances of a currency sum to zero": """
        SELECT currency, sum(balance_minor) FROM ledger_accounts GROUP BY currency HAVING sum(balance_minor) <> 0
    """,
    "a balance is the sum of its transfers": """
        SELECT a.address, a.balance_minor, m.total FROM ledger_accounts a LEFT JOIN (
            SELECT account, sum(amount) AS total FROM (
                SELECT credit_account AS account, amount_minor AS amount FROM transfers
                UNION ALL SELECT debit_account, -amount_minor FROM transfers) t GROUP BY account) m ON m.account = a.id
        WHERE a.balance_minor <> coalesce(m.total, 0)
    """,
    "what is held is the sum of the pending holds": """
        SELECT a.address, a.held_minor FROM ledger_accounts a
        WHERE a.held_minor <> (
            SELECT coalesce(sum(amount_minor), 0) FROM holds WHERE account = a.id AND state = 'pending')
    """,
    "a hold is pending while its payment is open, and ended with it": """
        SELECT h.id, h.state, p.state FROM holds h JOIN payments p ON p.id = h.id
        WHERE h.state <> CASE WHEN p.state IN ('accepted', 'authorized', 'applied') THEN 'pending'
                              WHEN p.state = 'voided' THEN 'voided' ELSE 'posted' END
    """,
    "one live payment of a bill": f"""
        SELECT bill_id FROM payments WHERE {HOLDS_ITS_BILL} GROUP BY bill_id HAVING count(*) > 1
    """,
    "a captured payment has its transfer, and no other has one": """
        SELECT p.id, p.state FROM payments p FULL JOIN transfers t ON t.id = p.id
        WHERE (t.id IS NOT NULL AND t.kind = 'pay_bill' AND (p.id IS NULL OR t.amount_minor <> p.captured_minor))
           OR (p.captured_minor > 0 AND t.id IS NULL)
    """,
    "a captured payment has one receipt, and no other has one": """
        SELECT p.id, p.state, r.number FROM payments p FULL JOIN receipts r ON r.payment_id = p.id
        WHERE (p.id IS NULL OR (p.captured_minor > 0) <> (r.number IS NOT NULL))
        UNION ALL SELECT payment_id, 'two receipts', min(number) FROM receipts GROUP BY payment_id HAVING count(*) > 1
    """,
    "a receipt is void when all of its money went back": """
        SELECT r.number, p.state FROM receipts r JOIN payments p ON p.id = r.payment_id
        WHERE (r.voided_at IS NOT NULL) <> (p.state IN ('refunded', 'reversed'))
    """,
    "refunds of a payment add up": """
        SELECT p.id, p.refunded_minor, p.refund_pending_minor FROM payments p LEFT JOIN (
            SELECT payment_id, coalesce(sum(amount_minor) FILTER (WHERE state = 'succeeded'), 0) AS done,
                coalesce(sum(amount_minor) FILTER (WHERE state IN ('accepted', 'unapplied')), 0) AS pending
            FROM refunds GROUP BY payment_id) r ON r.payment_id = p.id
        WHERE p.refunded_minor <> coalesce(r.done, 0) OR p.refund_pending_minor <> coalesce(r.pending, 0)
    """,
    "a refund that succeeded has its transfer, and no other has one": """
        SELECT r.id FROM refunds r FULL JOIN (
            SELECT * FROM transfers WHERE kind IN ('refund', 'refund_to_wallet')) t ON t.id = r.transfer_id
        WHERE r.id IS NULL OR (r.state = 'succeeded') <> (t.id IS NOT NULL) OR t.amount_minor <> r.amount_minor
    """,
    "events are numbered from 1 without gaps": """
        SELECT topic, key, sequence, place FROM (
            SELECT topic, key, sequence, row_number() OVER (
                PARTITION BY topic, key, type LIKE '%TopUp%' OR type LIKE 'WalletToppedUp%' ORDER BY id) AS place
            FROM outbox WHERE topic <> 3 AND raw IS NULL) o
        WHERE sequence <> place
    """,
    "a payment's version counts its events": """
        SELECT p.id, p.version FROM payments p
        WHERE p.version <> (SELECT count(*) FROM outbox o WHERE o.topic = 4 AND o.key = p.id::text
            AND NOT (type LIKE '%TopUp%' OR type LIKE 'WalletToppedUp%'))
    """,
    "what is open has an errand, and what has ended has none": """
        SELECT id, state FROM payments p WHERE (state IN ('accepted', 'authorized', 'applied'))
            <> EXISTS (SELECT FROM errands e WHERE e.kind = 'payment' AND e.subject = p.id)
        UNION ALL SELECT id, state FROM refunds r WHERE (state IN ('accepted', 'unapplied'))
            <> (EXISTS (SELECT FROM errands e WHERE e.kind = 'refund' AND e.subject = r.id)
                OR EXISTS (SELECT FROM cases c WHERE c.subject = r.id AND c.kind = 'refund_stuck'
                    AND c.closed_at IS NULL))
        UNION ALL SELECT id, state FROM top_ups t WHERE (state = 'accepted')
            <> EXISTS (SELECT FROM errands e WHERE e.kind = 'top_up' AND e.subject = t.id)
    """,
}


# As the tests read it beside its payment: the call that has no answer, when it is due, how often it was claimed.
_ERRAND = text("""
    SELECT CASE WHEN unknown_since IS NOT NULL THEN leg END AS unknown_leg, due_at, fence, leg, institution, attempt
    FROM errands WHERE kind = :kind AND subject = :id
""")
_NO_ERRAND = dict.fromkeys(("unknown_leg", "due_at", "fence", "leg", "institution", "attempt"))


async def audit(engine: AsyncEngine) -> None:
    """Fail with the violations of all invariants."""
    async with engine.connect() as connection:
        for promise, statement in WRONG.items():
            rows = (await connection.execute(text(statement))).all()
            assert not rows, f"{promise}: {rows[:5]}"


async def payment(engine: AsyncEngine, id: UUID) -> dict[str, Any]:
    """A payment's row."""
    return await _one(engine, "payments", id)


async def refund(engine: AsyncEngine, id: UUID) -> dict[str, Any]:
    """A refund's row."""
    return await _one(engine, "refunds", id)


async def top_up(engine: AsyncEngine, id: UUID) -> dict[str, Any]:
    """A top-up's row."""
    return await _one(engine, "top_ups", id)


async def events(engine: AsyncEngine, key: UUID) -> list[str]:
    """Return the types of the events of a payment or top-up, in order, without receipts."""
    return await _types(engine, key, 4)


async def receipt_events(engine: AsyncEngine, key: UUID) -> list[str]:
    """Return the types of the events of a payment's receipt, in order."""
    return await _types(engine, key, 5)


async def balance(engine: AsyncEngine, address: str) -> tuple[int, int]:
    """Balance and held amount of a ledger account, zero when it does not exist."""
    async with engine.connect() as connection:
        row = (
            await connection.execute(
                text(
                    "SELECT balance_minor, held_minor FROM ledger_accounts WHERE address = :address"
                ),
                {"address": address},
            )
        ).one_or_none()
    return (row.balance_minor, row.held_minor) if row else (0, 0)


async def cases(engine: AsyncEngine, subject: UUID) -> list[str]:
    """Return the kinds of its open cases."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT kind FROM cases WHERE subject = :id AND closed_at IS NULL ORDER BY id"),
            {"id": subject},
        )
        return list(rows.scalars())


async def has_receipt(engine: AsyncEngine, id: UUID) -> bool:
    """Return True when the payment has a valid receipt under the number derived from it."""
    row = await payment(engine, id)
    async with engine.connect() as connection:
        found = await connection.scalar(
            text("SELECT voided_at IS NULL FROM receipts WHERE number = :number"),
            {"number": number_of(id, row["finished_at"])} if row["finished_at"] else {"number": ""},
        )
    return bool(found)


async def _one(engine: AsyncEngine, table: str, id: UUID) -> dict[str, Any]:
    async with engine.connect() as connection:
        rows = await connection.execute(text(f"SELECT * FROM {table} WHERE id = :id"), {"id": id})
        found = dict(rows.one()._mapping)
        errand = (await connection.execute(_ERRAND, {"kind": table.rstrip("s"), "id": id})).first()
        return found | (dict(errand._mapping) if errand else _NO_ERRAND)


async def _types(engine: AsyncEngine, key: UUID, topic: int) -> list[str]:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("SELECT type FROM outbox WHERE key = :key AND topic = :topic ORDER BY id"),
            {"key": str(key), "topic": topic},
        )
        return [each.removesuffix(".v1") for each in rows.scalars()]


async def application(engine: AsyncEngine, payment_id: UUID) -> Application:
    """The payment as its biller knows it."""
    sql = """
        SELECT a.account_number, b.bill_number, p.amount_minor, p.currency FROM payments p
        JOIN bills b ON b.id = p.bill_id JOIN accounts a ON a.id = b.account_id WHERE p.id = :id
    """
    async with engine.connect() as connection:
        row = (await connection.execute(text(sql), {"id": payment_id})).one()
    return Application(serial_of(payment_id), *row)
