"""The history of a payment or a top-up, in order of time: for operators and auditors. Holds no personal data.

Every table that knows of it is asked once; the outbox only knows what it has not yet dropped with an old partition.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.subject import Kind, Subject


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that happened. `what` is state, call, hold, transfer, receipt, event or case."""

    at: datetime
    what: str
    text: str
    amount_minor: int | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class Open:
    """A payment, refund or top-up under way. `unknown_since`: the call of its leg has had no answer since then.

    `held`: a process is at work on it, until `due_at` at most; otherwise it is due then.
    """

    kind: str
    id: UUID
    state: str
    created_at: datetime
    institution: str
    leg: str
    unknown_since: datetime | None
    tries: int
    held: bool
    due_at: datetime
    waits_for_payer: bool


@dataclass(frozen=True, slots=True)
class Case:
    """Something that a person has to look into."""

    id: int
    subject: UUID
    subject_kind: str
    kind: str
    note: str
    opened_at: datetime
    closed_at: datetime | None
    closed_because: str | None


_SUBJECTS = text("""
    SELECT 'payment', id FROM payments WHERE id = :id
    UNION SELECT 'payment', payment_id FROM refunds WHERE id = :id
    UNION SELECT 'payment', CASE kind WHEN 'refund' THEN subject ELSE id END FROM payment_requests
        WHERE id = :id AND kind IN ('payment', 'refund')
    UNION SELECT 'top_up', id FROM top_ups WHERE id = :id
    UNION SELECT 'top_up', id FROM payment_requests WHERE id = :id AND kind = 'top_up'
""")
# `turn` puts what one transaction did at one moment into the order in which it is told.
_HISTORY = text("""
    WITH RECURSIVE subjects AS (
        SELECT CAST(:kind AS text) AS kind, CAST(:id AS uuid) AS id, NULL AS of,
            coalesce((SELECT u.transfer_id FROM top_ups u WHERE u.id = :id AND :kind = 'top_up'), :id) AS transfer_id
        UNION ALL
        SELECT 'refund', id, 'refund ' || left(id::text, 8) || ': ', transfer_id FROM refunds
        WHERE payment_id = :id AND :kind = 'payment'
    ), booked AS (
        SELECT s.of, t.id FROM subjects s JOIN transfers t ON t.id = s.transfer_id
        UNION SELECT b.of, t.id FROM booked b JOIN transfers t ON t.corrects = b.id
            AND t.kind IN ('late_return', 'refund_returned', 'returned_to_wallet')
    ), told AS (
        SELECT r.created_at AS at, 0 AS turn, 'state' AS what, 'promised over HTTP' AS text, r.amount_minor,
            r.currency::text
        FROM payment_requests r WHERE r.id = :id AND r.kind = :kind
        UNION ALL SELECT r.failed_at, 6, 'state', 'promise not kept: ' || r.reason, NULL, NULL
        FROM payment_requests r WHERE r.id = :id AND r.kind = :kind AND r.failed_at IS NOT NULL
        UNION ALL
        SELECT p.created_at, 1, 'state', CASE funding WHEN 'psp' THEN 'taken in, funded by the PSP'
            ELSE 'taken in, funded by the wallet' END, amount_minor, currency
        FROM subjects s JOIN payments p ON p.id = s.id AND s.kind = 'payment'
        UNION ALL SELECT authorized_at, 1, 'state', 'authorized', NULL, NULL
        FROM subjects s JOIN payments p ON p.id = s.id AND s.kind = 'payment' WHERE authorized_at IS NOT NULL
        UNION ALL SELECT applied_at, 1, 'state', 'applied', NULL, NULL
        FROM subjects s JOIN payments p ON p.id = s.id AND s.kind = 'payment' WHERE applied_at IS NOT NULL
        UNION ALL SELECT finished_at, 6, 'state', CASE WHEN captured_minor > 0 THEN 'succeeded' ELSE state END
            || coalesce(': ' || reason, ''), captured_minor, currency
        FROM subjects s JOIN payments p ON p.id = s.id AND s.kind = 'payment' WHERE finished_at IS NOT NULL
        UNION ALL SELECT created_at, 1, 'state', 'top-up accepted', amount_minor, currency
        FROM subjects s JOIN top_ups u ON u.id = s.id AND s.kind = 'top_up'
        UNION ALL SELECT finished_at, 6, 'state', 'top-up ' || state || coalesce(': ' || reason, ''), amount_minor,
            currency
        FROM subjects s JOIN top_ups u ON u.id = s.id AND s.kind = 'top_up' WHERE finished_at IS NOT NULL
        UNION ALL SELECT r.created_at, 1, 'state', s.of || CASE WHEN reversal THEN 'reversal of what is left'
            ELSE 'asked for' END, r.amount_minor, p.currency
        FROM subjects s JOIN refunds r ON r.id = s.id AND s.kind = 'refund' JOIN payments p ON p.id = r.payment_id
        UNION ALL SELECT r.finished_at, 6, 'state', s.of || r.state || coalesce(': ' || r.reason, ''), r.amount_minor,
            p.currency
        FROM subjects s JOIN refunds r ON r.id = s.id AND s.kind = 'refund' JOIN payments p ON p.id = r.payment_id
        WHERE r.finished_at IS NOT NULL
        UNION ALL SELECT c.started_at, 2, 'call', coalesce(s.of, '') || c.leg || ' ' || c.outcome
            || coalesce(': ' || c.detail, '') || ' (' || c.duration_ms || ' ms)', NULL, NULL
        FROM subjects s JOIN outside_calls c ON c.subject = s.id AND c.subject_kind = s.kind
        UNION ALL SELECT h.created_at, 3, 'hold', 'set aside in the wallet', h.amount_minor, a.currency
        FROM subjects s JOIN holds h ON h.id = s.id AND s.kind = 'payment' JOIN ledger_accounts a ON a.id = h.account
        UNION ALL SELECT h.ended_at, 3, 'hold', h.state, h.amount_minor, a.currency
        FROM subjects s JOIN holds h ON h.id = s.id AND s.kind = 'payment' JOIN ledger_accounts a ON a.id = h.account
        WHERE h.ended_at IS NOT NULL
        UNION ALL SELECT t.created_at, 4, 'transfer', coalesce(s.of, '') || t.kind || ' '
            || regexp_replace(d.address, '^wallet:.*', 'wallet') || ' > '
            || regexp_replace(c.address, '^wallet:.*', 'wallet'), t.amount_minor, t.currency
        FROM booked s JOIN transfers t ON t.id = s.id JOIN ledger_accounts d ON d.id = t.debit_account
            JOIN ledger_accounts c ON c.id = t.credit_account
        UNION ALL SELECT issued_at, 5, 'receipt', number, amount_minor, currency
        FROM receipts WHERE payment_id = :id AND :kind = 'payment'
        UNION ALL SELECT voided_at, 5, 'receipt', 'void: ' || void_reason, NULL, NULL
        FROM receipts WHERE payment_id = :id AND :kind = 'payment' AND voided_at IS NOT NULL
        UNION ALL SELECT created_at, 7, 'event', '#' || sequence || ' ' || type, NULL, NULL FROM outbox
        WHERE key = CAST(CAST(:id AS uuid) AS text) AND raw IS NULL
            AND (type LIKE '%TopUp%' OR type LIKE 'WalletToppedUp.%') = (:kind = 'top_up')
        UNION ALL SELECT c.opened_at, 8, 'case', coalesce(s.of, '') || c.kind || ': ' || c.note, NULL, NULL
        FROM subjects s JOIN cases c ON c.subject = s.id AND c.subject_kind = s.kind
        UNION ALL SELECT c.closed_at, 8, 'case', coalesce(s.of, '') || c.kind || ': closed'
            || coalesce(': ' || c.closed_because, ''), NULL, NULL
        FROM subjects s JOIN cases c ON c.subject = s.id AND c.subject_kind = s.kind WHERE c.closed_at IS NOT NULL
    )
    SELECT at, what, text, amount_minor, currency FROM told ORDER BY at, turn, text
""")
_OPEN = text("""
    SELECT o.kind, o.id, o.state, o.created_at, e.institution, e.leg, e.unknown_since, e.tries, e.held, e.due_at,
        o.waits_for_payer
    FROM (
        SELECT 'payment' AS kind, id, state, created_at, action_url IS NOT NULL AS waits_for_payer FROM payments
        UNION ALL SELECT 'refund', id, state, created_at, false FROM refunds
        UNION ALL SELECT 'top_up', id, state, created_at, action_url IS NOT NULL FROM top_ups) o
    JOIN errands e ON e.kind = o.kind AND e.subject = o.id
    ORDER BY o.created_at LIMIT :limit
""")
_CASES = text("""
    SELECT id, subject, subject_kind, kind, note, opened_at, closed_at, closed_because FROM cases
    WHERE :closed OR closed_at IS NULL ORDER BY id
""")
_CLOSE = text(
    "UPDATE cases SET closed_at = now(), closed_because = 'closed by hand'"
    " WHERE id = :id AND closed_at IS NULL RETURNING id"
)


async def find_subjects(connection: AsyncConnection, id: UUID) -> list[Subject]:
    """The payments and top-ups that this id stands for; a refund's id leads to its payment. Empty: it is unknown.

    As a rule it is one. But channels choose ids, and may give one to a payment and to a top-up.
    """
    rows = await connection.execute(_SUBJECTS, {"id": id})
    return sorted(Subject(Kind(kind), found) for kind, found in rows)


async def history(connection: AsyncConnection, subject: Subject) -> list[Line]:
    """All that is known of a payment, its refunds included, or of a top-up; oldest first."""
    about = {"kind": subject.kind, "id": subject.id}
    return [Line(*row) for row in await connection.execute(_HISTORY, about)]


async def open_ones(connection: AsyncConnection, limit: int = 200) -> list[Open]:
    """What is under way, oldest first."""
    return [Open(*row) for row in await connection.execute(_OPEN, {"limit": limit})]


async def cases(connection: AsyncConnection, *, closed: bool = False) -> list[Case]:
    """The open cases, oldest first; with `closed` those as well."""
    return [Case(*row) for row in await connection.execute(_CASES, {"closed": closed})]


async def close_case(connection: AsyncConnection, id: int) -> bool:
    """Close a case; False when it is not open. What still goes on opens the next one at its next attempt."""
    return (await connection.execute(_CLOSE, {"id": id})).first() is not None
