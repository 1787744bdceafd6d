"""Find bills in their latest version. This is the hottest path: one statement for a whole batch of payments."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.bills import AmountRule

_FIND = text("""
    SELECT b.id, b.account_id, a.account_number, a.biller_id, b.bill_number, b.period, b.amount_minor, b.currency,
        b.rule, b.min_minor, b.max_minor, b.multiple_minor, b.expires_at,
        b.closed_at IS NOT NULL OR NOT r.active AS closed, r.settled_by, b.expires_at <= now() AS expired
    FROM bills b JOIN accounts a ON a.id = b.account_id JOIN biller_terms r ON r.id = a.biller_id
    WHERE b.id = ANY(CAST(:ids AS uuid[]))
""")


class Bill(NamedTuple):
    """An amount due on an account for a period: a snapshot with an expiry. Amounts are minor units of `currency`.

    `closed`: the biller no longer lists it, or is not active. `settled_by`: how payments reach the biller. `expired`:
    by the database's clock, when the bill was read. A tuple, because the hot path makes thousands.
    """

    id: UUID
    account_id: UUID
    account_number: str
    biller_id: str
    bill_number: str
    period: str
    amount_minor: int
    currency: str
    rule: AmountRule
    min_minor: int | None
    max_minor: int | None
    multiple_minor: int | None
    expires_at: datetime
    closed: bool
    settled_by: Literal["call", "file"]
    expired: bool

    def reason_against(self, amount_minor: int, currency: str) -> str | None:
        """Return the code of the reason why this amount of the bill cannot be paid, or None."""
        if self.closed:
            return "bill_closed"
        if self.expired:
            return "bill_expired"
        if self.currency != currency:
            return "currency_mismatch"
        return None if self.allows(amount_minor) else "amount_not_allowed"

    def allows(self, amount_minor: int) -> bool:
        """Return True when the biller's amount rule accepts this amount for this bill."""
        within = (
            amount_minor > 0
            and (self.min_minor is None or amount_minor >= self.min_minor)
            and (self.max_minor is None or amount_minor <= self.max_minor)
            and (not self.multiple_minor or amount_minor % self.multiple_minor == 0)
        )
        match self.rule:
            case "exact":
                return within and amount_minor == self.amount_minor
            case "at_least":
                return within and amount_minor >= self.amount_minor
            case "at_most":
                return within and amount_minor <= self.amount_minor
            case "range" | "any":
                return within  # min and max have decided

    @classmethod
    def unknown(cls, bill_id: UUID, now: datetime) -> "Bill":
        """Return a stand-in for an unknown bill, to record a payment that named it: no biller, cannot be paid."""
        return cls(
            id=bill_id,
            account_id=UUID(int=0),
            account_number="",
            biller_id="",
            bill_number="",
            period="",
            amount_minor=0,
            currency="",
            rule="exact",
            min_minor=None,
            max_minor=None,
            multiple_minor=None,
            expires_at=now,
            closed=True,
            settled_by="call",
            expired=True,
        )


async def find_bills(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Bill]:
    """Return the bills among these ids that exist, by id."""
    if not ids:
        return {}
    rows = await connection.execute(_FIND, {"ids": list(ids)})
    return {row[0]: Bill._make(row) for row in rows}
