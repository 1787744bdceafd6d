"""The history of a payment or a top-up, in order of time: for operators and auditors. Holds no personal data.

Each room declares the lines of its own tables; one statement reads all of them, so they are from one moment. Events
older than the outbox's retention are missing.
"""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from errands import listing as errands
from messaging.outbox import MESSAGES
from services.billing.door import tables as promises
from services.billing.ledger import tables as ledger
from services.billing.outside import tables as outside
from services.billing.payments import tables as payments
from services.billing.receipts import tables as receipts
from services.billing.refunds import tables as refunds
from services.billing.subject import Kind, LineOrder, Subject
from services.billing.top_ups import tables as top_ups

_SUBJECTS = text(f"""
    SELECT '{Kind.PAYMENT}', id FROM {payments.SHOWN} p WHERE id = :id
    UNION SELECT '{Kind.PAYMENT}', payment_id FROM {refunds.SHOWN} r WHERE id = :id
    UNION SELECT '{Kind.TOP_UP}', id FROM {top_ups.SHOWN} t WHERE id = :id
    UNION SELECT CASE kind WHEN '{Kind.REFUND}' THEN '{Kind.PAYMENT}' ELSE kind END,
        CASE kind WHEN '{Kind.REFUND}' THEN subject ELSE id END FROM {promises.PROMISES} q WHERE id = :id
""")  # noqa: S608 - our own text
# The key of a command or event is the id of its payment or top-up; its type shows which of the two.
_MESSAGES = f"""
    SELECT created_at, {LineOrder.EVENT}, 'event', '#' || sequence || ' ' || type, NULL, NULL FROM {MESSAGES} m
    WHERE key = CAST(CAST(:id AS uuid) AS text)
        AND (type LIKE '%TopUp%' OR type LIKE 'WalletToppedUp.%') = (:kind = '{Kind.TOP_UP}')
"""  # noqa: S608 - our own text
_LINES = "\n UNION ALL ".join(
    (
        promises.LINES,
        payments.LINES,
        top_ups.LINES,
        refunds.LINES,
        ledger.LINES,
        receipts.LINES,
        outside.LINES,
        _MESSAGES,
    )
)
_HISTORY = text(f"""
    WITH RECURSIVE subjects AS (
        SELECT CAST(:kind AS text) AS kind, CAST(:id AS uuid) AS id, '' AS of
        UNION ALL
        SELECT '{Kind.REFUND}', id, 'refund ' || left(CAST(id AS text), 8) || ': ' FROM {refunds.SHOWN} r
        WHERE payment_id = :id AND :kind = '{Kind.PAYMENT}'
    ), booked AS (
        {payments.BOOKED} UNION ALL {top_ups.BOOKED} UNION ALL {refunds.BOOKED}
        UNION {ledger.CORRECTIONS}
    ), lines (at, place, what, text, amount_minor, currency) AS (
        {_LINES}
    )
    SELECT at, what, text, amount_minor, currency FROM lines ORDER BY at, place, text
""")  # noqa: S608 - our own text
_OPEN = text(f"""
    SELECT o.kind, o.id, o.state, o.created_at, e.institution, e.leg, e.unknown_since, e.tries, e.held, e.due_at,
        o.waits_for_payer
    FROM (
        SELECT '{Kind.PAYMENT}' AS kind, id, state, created_at, action_url IS NOT NULL AS waits_for_payer
            FROM {payments.SHOWN} p
        UNION ALL SELECT '{Kind.REFUND}', id, state, created_at, false FROM {refunds.SHOWN} r
        UNION ALL SELECT '{Kind.TOP_UP}', id, state, created_at, action_url IS NOT NULL FROM {top_ups.SHOWN} t) o
    JOIN {errands.SHOWN} e ON e.kind = o.kind AND e.subject = o.id
    ORDER BY o.created_at LIMIT :limit
""")  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class HistoryLine:
    """One line of the history. `what` is state, call, hold, transfer, receipt, event or case."""

    at: datetime
    what: str
    text: str
    amount_minor: int | None
    currency: str | None


@dataclass(frozen=True, slots=True)
class UnderWay:
    """A payment, refund or top-up under way. `unknown_since`: the call of its leg has had no answer since then.

    `held`: a process works on it, until `due_at` at most; otherwise it is due at `due_at`.
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


async def find_subjects(connection: AsyncConnection, id: UUID) -> list[Subject]:
    """Return the payments and top-ups with this id; a refund's id leads to its payment. Empty when the id is unknown.

    Usually there is one. But channels choose ids, and may use the same for a payment and a top-up.
    """
    rows = await connection.execute(_SUBJECTS, {"id": id})
    return sorted(Subject(Kind(kind), found) for kind, found in rows)


async def history(connection: AsyncConnection, subject: Subject) -> list[HistoryLine]:
    """Return the history of a payment with its refunds, or of a top-up, oldest first."""
    about = {"kind": subject.kind, "id": subject.id}
    return [HistoryLine(*row) for row in await connection.execute(_HISTORY, about)]


async def open_ones(connection: AsyncConnection, limit: int = 200) -> list[UnderWay]:
    """Return payments, refunds and top-ups under way, oldest first."""
    return [UnderWay(*row) for row in await connection.execute(_OPEN, {"limit": limit})]
