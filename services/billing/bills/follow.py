"""Follow a lookup, and read a bill: the views for wallets."""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.bills import AmountRule

Status = Literal["processing", "found", "nothing_owed", "no_such_account", "biller_down"]
_STATUS: dict[str, Status] = {"pending": "processing", "failed": "biller_down"}

_LOOKUP = text("""
    SELECT l.id, l.account_id, a.biller_id, l.state, l.reason, l.bill_ids, l.created_at, l.finished_at
    FROM lookups l JOIN accounts a ON a.id = l.account_id
    WHERE l.id = :id AND l.channel_id = :channel
""")
# A bill that a live payment holds cannot be paid again. Payments decide that; it is read here so that a wallet does not
# offer a payment that would be refused.
_BILLS = text("""
    SELECT b.id, b.account_id, a.biller_id, b.period, b.amount_minor, b.currency, b.rule, b.min_minor, b.max_minor,
        b.multiple_minor, b.due_on, b.expires_at,
        b.closed_at IS NULL AND b.expires_at > now() AND r.active
            AND NOT EXISTS (SELECT FROM live_bills l WHERE l.bill_id = b.id) AS payable
    FROM bills b JOIN accounts a ON a.id = b.account_id JOIN biller_terms r ON r.id = a.biller_id
    WHERE b.id = ANY(CAST(:ids AS uuid[]))
""")


class BillView(BaseModel):
    """A bill in its latest version, in minor units of `currency`: a snapshot that expires."""

    id: UUID
    account_id: UUID
    biller_id: str
    period: str
    amount_minor: int
    currency: str
    rule: AmountRule = Field(description="which amounts the biller takes, against amount_minor")
    min_minor: int | None
    max_minor: int | None
    multiple_minor: int | None
    due_on: date | None
    expires_at: datetime
    payable: bool = Field(
        description="false once it has expired, is listed no more, or a payment of it is live"
    )


class LookupView(BaseModel):
    """A lookup. `biller_down` says nothing about the account: look it up again later."""

    id: UUID
    status: Status
    account_id: UUID
    biller_id: str
    reason: str | None = Field(
        description="with biller_down: biller_down, biller_inactive, or why the lookup was not carried out"
    )
    bills: list[BillView]
    created_at: datetime
    finished_at: datetime | None


async def lookup(connection: AsyncConnection, channel: str, id: UUID) -> LookupView | None:
    """Return the channel's lookup with its bills in their present version, or None."""
    row = (await connection.execute(_LOOKUP, {"id": id, "channel": channel})).one_or_none()
    if row is None:
        return None
    found = await bills(connection, row.bill_ids or [])
    return LookupView(
        id=row.id,
        status=_STATUS.get(row.state, row.state),
        account_id=row.account_id,
        biller_id=row.biller_id,
        reason=row.reason,
        bills=[found[bill_id] for bill_id in row.bill_ids or [] if bill_id in found],
        created_at=row.created_at,
        finished_at=row.finished_at,
    )


async def bills(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, BillView]:
    """Return the bills among these ids that exist, by id."""
    if not ids:
        return {}
    rows = await connection.execute(_BILLS, {"ids": list(ids)})
    return {row.id: _view(row) for row in rows}


def _view(row: Row[Any]) -> BillView:
    return BillView.model_validate(row._mapping)
