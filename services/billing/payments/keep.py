"""Keep what was decided about a batch of payments: a row each, one statement."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.payments.model import Payment
from services.billing.payments.tables import State

_INSERT = text("""
    INSERT INTO payments (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency, funding,
        payment_method, request_hash, state, captured_minor, version, reason, correlation_id, next_attempt_at,
        authorized_at, finished_at)
    SELECT id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency,
        CASE WHEN payment_method IS NULL THEN 'wallet' ELSE 'psp' END, payment_method, request_hash, state,
        CASE WHEN state = 'succeeded' THEN amount_minor ELSE 0 END, 1, reason, correlation_id,
        CASE WHEN state IN ('accepted', 'authorized') THEN now() + CAST(:resume_after AS interval) END,
        CASE WHEN state = 'authorized' THEN CAST(:now AS timestamptz) END,
        CASE WHEN state IN ('succeeded', 'rejected') THEN CAST(:now AS timestamptz) END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:channels AS text[]), CAST(:payers AS text[]), CAST(:bills AS uuid[]),
        CAST(:billers AS text[]), CAST(:accounts AS uuid[]), CAST(:amounts AS bigint[]), CAST(:currencies AS text[]),
        CAST(:methods AS text[]), CAST(:hashes AS bytea[]), CAST(:states AS text[]), CAST(:reasons AS text[]),
        CAST(:correlations AS text[])
    ) AS p (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency, payment_method,
        request_hash, state, reason, correlation_id)
""")
_UNIQUE_VIOLATION = "23505"


class LostRaceError(Exception):
    """Another worker took one of the bills, or accepted one of the payments, after we had looked.

    Roll back and accept the batch again: it is decided afresh, wallets included, with the winner in sight.
    """


class Decision(NamedTuple):
    """A payment as it will be kept, and the fingerprint of its command."""

    payment: Payment
    fingerprint: bytes

    def rejected(self, reason: str) -> "Decision":
        """The same payment, refused."""
        payment = self.payment._replace(state=State.REJECTED, reason=reason)
        return Decision(payment, self.fingerprint)


async def keep(
    connection: AsyncConnection, decided: Sequence[Decision], now: datetime, resume_after: timedelta
) -> None:
    """Insert the payments in the caller's transaction, all of them; raises LostRaceError when that can't be."""
    # In the order of the bills, so that two workers never wait for each other's bills in a circle.
    rows = [(each.payment, each.fingerprint) for each in sorted(decided, key=_bill_id)]
    columns = {
        "now": now,
        "resume_after": resume_after,
        "ids": [p.id for p, _ in rows],
        "channels": [p.channel for p, _ in rows],
        "payers": [p.payer for p, _ in rows],
        "bills": [p.bill.id for p, _ in rows],
        "billers": [p.bill.biller_id or None for p, _ in rows],
        "accounts": [p.bill.account_id if p.bill.biller_id else None for p, _ in rows],
        "amounts": [p.amount_minor for p, _ in rows],
        "currencies": [p.currency for p, _ in rows],
        "methods": _column([p.payment_method for p, _ in rows]),
        "hashes": [fingerprint for _, fingerprint in rows],
        "states": [p.state for p, _ in rows],
        "reasons": _column([p.reason for p, _ in rows]),
        "correlations": _column([p.correlation_id for p, _ in rows]),
    }
    try:
        # Without ON CONFLICT, which looks into each unique index twice and writes twice: races are rare.
        await connection.execute(_INSERT, columns)
    except IntegrityError as error:
        if getattr(error.orig, "sqlstate", None) != _UNIQUE_VIOLATION:
            raise
        raise LostRaceError(f"one of {len(rows)} payments") from error


def _column(values: list[str | None]) -> list[str | None] | None:
    # unnest pads what is shorter with NULL, so a column without a value costs nothing.
    return values if any(values) else None


def _bill_id(decision: Decision) -> UUID:
    return decision.payment.bill.id
