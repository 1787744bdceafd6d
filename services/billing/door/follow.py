"""Follow payments, refunds and top-ups: what the wallet is shown. Five statuses, whatever the states inside."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing import receipts
from services.billing.door.promises import KEPT
from services.billing.subject import Kind

Status = Literal["processing", "succeeded", "failed", "refunded", "action_required"]
STATUS: Mapping[str, Status] = {
    "accepted": "processing",
    "authorized": "processing",
    "applied": "processing",
    "unapplied": "processing",
    "succeeded": "succeeded",
    "partially_refunded": "succeeded",
    "refunded": "refunded",
    "reversed": "refunded",
    "voided": "failed",
    "rejected": "failed",
    "declined": "failed",
    "failed": "failed",
    "not_accepted": "failed",
}

_KEPT = """
    SELECT r.id, r.channel_id, r.payer, r.bill_id, r.amount_minor, r.currency, r.state, r.funding, r.reason,
        r.action_url, r.refunded_minor, r.created_at, r.finished_at
    FROM payments r WHERE
"""
# A promise of the HTTP door counts as a payment until the worker has made one of it. It has failed when its command
# became a dead letter.
_PROMISE_STATE = "CASE WHEN r.failed_at IS NULL THEN 'accepted' ELSE 'not_accepted' END"
_PROMISED = f"""
    SELECT r.id, r.channel_id, r.payer, r.subject, r.amount_minor, r.currency, {_PROMISE_STATE}, NULL, r.reason, NULL,
        0, r.created_at, r.failed_at
    FROM payment_requests r WHERE r.kind = 'payment'
      AND NOT {KEPT[Kind.PAYMENT]} AND
"""  # noqa: S608 - our own text
_MINE = "r.id = :id AND r.channel_id = :channel"
_ONE = text(f"{_KEPT} {_MINE} UNION ALL {_PROMISED} {_MINE}")


def _list(payer: bool, before: bool) -> TextClause:
    # Each half takes a page from its index; of the two pages together, the newest are the page.
    where = "r.channel_id = :channel"
    where += " AND r.payer = :payer" if payer else ""
    where += " AND (r.created_at, r.id) < (:before_at, :before_id)" if before else ""
    page = "ORDER BY created_at DESC, id DESC LIMIT :limit"
    return text(f"({_KEPT} {where} {page}) UNION ALL ({_PROMISED} {where} {page}) {page}")


_LISTS = {
    (payer, before): _list(payer, before) for payer in (True, False) for before in (True, False)
}
_REFUND = text(f"""
    SELECT r.id, r.payment_id, r.amount_minor, p.currency, r.state, r.reason, r.created_at, r.finished_at
    FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE r.id = :id AND p.channel_id = :channel
    UNION ALL
    SELECT r.id, r.subject, r.amount_minor, r.currency, {_PROMISE_STATE}, r.reason, r.created_at, r.failed_at
    FROM payment_requests r WHERE r.kind = 'refund' AND r.id = :id AND r.channel_id = :channel
      AND NOT {KEPT[Kind.REFUND]}
""")  # noqa: S608 - our own text
_TOP_UP = text(f"""
    SELECT r.id, r.payer, r.amount_minor, r.currency, r.state, r.reason, r.action_url, r.created_at, r.finished_at
    FROM top_ups r WHERE r.id = :id AND r.channel_id = :channel
    UNION ALL
    SELECT r.id, r.payer, r.amount_minor, r.currency, {_PROMISE_STATE}, r.reason, NULL, r.created_at, r.failed_at
    FROM payment_requests r WHERE r.kind = 'top_up' AND r.id = :id AND r.channel_id = :channel
      AND NOT {KEPT[Kind.TOP_UP]}
""")  # noqa: S608 - our own text
_WALLET = text("""
    SELECT currency, balance_minor, held_minor FROM ledger_accounts WHERE address = :address ORDER BY currency
""")


class PaymentView(BaseModel):
    """A payment as its wallet sees it. Amounts are minor units of `currency`."""

    id: UUID
    status: Status
    state: str = Field(description="the exact state, for support; new ones may be added")
    reason: str | None = Field(
        description="why it failed, a short code; in the state not_accepted that of the command's dead letter"
    )
    payer: str
    bill_id: UUID
    amount_minor: int
    refunded_minor: int
    currency: str
    action_url: str | None = Field(description="where the payer confirms, when action_required")
    receipt_number: str | None
    created_at: datetime
    finished_at: datetime | None


class RefundView(BaseModel):
    """A refund as the wallet sees it."""

    id: UUID
    payment_id: UUID
    status: Literal["processing", "succeeded", "failed"]
    reason: str | None = Field(description="why it failed, a short code")
    amount_minor: int
    currency: str
    created_at: datetime
    finished_at: datetime | None


class TopUpView(BaseModel):
    """A top-up as the wallet sees it."""

    id: UUID
    status: Status
    reason: str | None = Field(description="why it failed, a short code")
    payer: str
    amount_minor: int
    currency: str
    action_url: str | None
    created_at: datetime
    finished_at: datetime | None


class Balance(BaseModel):
    """What a wallet holds in one currency; `available_minor` is what can be spent."""

    currency: str
    balance_minor: int
    held_minor: int
    available_minor: int


async def payment(connection: AsyncConnection, channel: str, id: UUID) -> PaymentView | None:
    """The channel's payment, or None."""
    row = (await connection.execute(_ONE, {"id": id, "channel": channel})).first()
    return _payment(row) if row else None


async def payments(
    connection: AsyncConnection,
    channel: str,
    payer: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[PaymentView]:
    """The channel's payments, newest first; `before` is where the last page ended."""
    asked: dict[str, object] = {"channel": channel, "limit": limit}
    if payer is not None:
        asked["payer"] = payer
    if before is not None:
        asked["before_at"], asked["before_id"] = before
    rows = await connection.execute(_LISTS[payer is not None, before is not None], asked)
    return [_payment(row) for row in rows]


async def refund(connection: AsyncConnection, channel: str, id: UUID) -> RefundView | None:
    """The channel's refund, or None."""
    row = (await connection.execute(_REFUND, {"id": id, "channel": channel})).first()
    if row is None:
        return None
    return RefundView.model_validate({**row._mapping, "status": STATUS[row.state]})


async def top_up(connection: AsyncConnection, channel: str, id: UUID) -> TopUpView | None:
    """The channel's top-up, or None."""
    row = (await connection.execute(_TOP_UP, {"id": id, "channel": channel})).first()
    if row is None:
        return None
    status = "action_required" if row.action_url else STATUS[row.state]
    return TopUpView.model_validate({**row._mapping, "status": status})


async def wallet(connection: AsyncConnection, channel: str, payer: str) -> list[Balance]:
    """What the payer's wallet holds, a line per currency; empty when it never held anything."""
    rows = await connection.execute(_WALLET, {"address": f"wallet:{channel}:{payer}"})
    return [
        Balance(
            currency=row.currency,
            balance_minor=row.balance_minor,
            held_minor=row.held_minor,
            available_minor=row.balance_minor - row.held_minor,
        )
        for row in rows
    ]


def _payment(row: Row[Any]) -> PaymentView:
    captured = row.state in {"succeeded", "partially_refunded", "refunded", "reversed"}
    number = receipts.number_of(row.id, row.finished_at) if captured else None
    status = "action_required" if row.action_url else STATUS[row.state]
    return PaymentView.model_validate({**row._mapping, "status": status, "receipt_number": number})
