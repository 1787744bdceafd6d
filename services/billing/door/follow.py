"""Follow payments, refunds and top-ups: the views for wallets, with five statuses for all internal states."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing import ledger, receipts
from services.billing.door.promise import ACCEPTED, UNKEPT
from services.billing.door.tables import NOT_ACCEPTED
from services.billing.payments.tables import CAPTURED, State
from services.billing.refunds.tables import RefundState
from services.billing.subject import Kind

Status = Literal["processing", "succeeded", "failed", "refunded", "action_required"]
STATUS: Mapping[str, Status] = {
    State.ACCEPTED: "processing",
    State.AUTHORIZED: "processing",
    State.APPLIED: "processing",
    RefundState.UNAPPLIED: "processing",
    State.SUCCEEDED: "succeeded",
    State.PARTIALLY_REFUNDED: "succeeded",
    State.REFUNDED: "refunded",
    State.REVERSED: "refunded",
    State.VOIDED: "failed",
    State.REJECTED: "failed",
    State.DECLINED: "failed",
    RefundState.FAILED: "failed",
    NOT_ACCEPTED: "failed",
}

# A promise is shown as its payment, refund or top-up until the worker has accepted that.
_PAYMENTS = f"""
    SELECT r.id, r.payer, r.bill_id, r.amount_minor, r.currency, r.state, r.reason, r.action_url, r.refunded_minor,
        r.created_at, r.finished_at
    FROM {ACCEPTED[Kind.PAYMENT]} r WHERE
"""  # noqa: S608 - our own text
_PROMISED = f"""
    SELECT r.id, r.payer, r.subject, r.amount_minor, r.currency, r.state, r.reason, NULL, 0, r.created_at, r.finished_at
    FROM {UNKEPT[Kind.PAYMENT]} r WHERE
"""  # noqa: S608 - our own text
_MINE = "r.id = :id AND r.channel_id = :channel"
_ONE = text(f"{_PAYMENTS} {_MINE} UNION ALL {_PROMISED} {_MINE}")


def _list(payer: bool, before: bool) -> TextClause:
    # Each half reads a page from its index; the newest rows of both are the page.
    where = "r.channel_id = :channel"
    where += " AND r.payer = :payer" if payer else ""
    where += " AND (r.created_at, r.id) < (:before_at, :before_id)" if before else ""
    page = "ORDER BY created_at DESC, id DESC LIMIT :limit"
    return text(f"({_PAYMENTS} {where} {page}) UNION ALL ({_PROMISED} {where} {page}) {page}")


_LISTS = {
    (payer, before): _list(payer, before) for payer in (True, False) for before in (True, False)
}
_REFUND = text(f"""
    SELECT r.id, r.payment_id, r.amount_minor, r.currency, r.state, r.reason, r.created_at, r.finished_at
    FROM {ACCEPTED[Kind.REFUND]} r WHERE {_MINE}
    UNION ALL
    SELECT r.id, r.subject, r.amount_minor, r.currency, r.state, r.reason, r.created_at, r.finished_at
    FROM {UNKEPT[Kind.REFUND]} r WHERE {_MINE}
""")  # noqa: S608 - our own text
_TOP_UP = text(f"""
    SELECT r.id, r.payer, r.amount_minor, r.currency, r.state, r.reason, r.action_url, r.created_at, r.finished_at
    FROM {ACCEPTED[Kind.TOP_UP]} r WHERE {_MINE}
    UNION ALL
    SELECT r.id, r.payer, r.amount_minor, r.currency, r.state, r.reason, NULL, r.created_at, r.finished_at
    FROM {UNKEPT[Kind.TOP_UP]} r WHERE {_MINE}
""")  # noqa: S608 - our own text


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
    """A wallet's balance in one currency; `available_minor` can be spent."""

    currency: str
    balance_minor: int
    held_minor: int
    available_minor: int


async def payment(connection: AsyncConnection, channel: str, id: UUID) -> PaymentView | None:
    """Return the channel's payment, or None."""
    row = (await connection.execute(_ONE, {"id": id, "channel": channel})).first()
    return _payment(row) if row else None


async def payments(
    connection: AsyncConnection,
    channel: str,
    payer: str | None,
    before: tuple[datetime, UUID] | None,
    limit: int,
) -> list[PaymentView]:
    """Return the channel's payments, newest first; `before` is the end of the last page."""
    parameters: dict[str, object] = {"channel": channel, "limit": limit}
    if payer is not None:
        parameters["payer"] = payer
    if before is not None:
        parameters["before_at"], parameters["before_id"] = before
    rows = await connection.execute(_LISTS[payer is not None, before is not None], parameters)
    return [_payment(row) for row in rows]


async def refund(connection: AsyncConnection, channel: str, id: UUID) -> RefundView | None:
    """Return the channel's refund, or None."""
    row = (await connection.execute(_REFUND, {"id": id, "channel": channel})).first()
    if row is None:
        return None
    return RefundView.model_validate({**row._mapping, "status": STATUS[row.state]})


async def top_up(connection: AsyncConnection, channel: str, id: UUID) -> TopUpView | None:
    """Return the channel's top-up, or None."""
    row = (await connection.execute(_TOP_UP, {"id": id, "channel": channel})).first()
    if row is None:
        return None
    status = "action_required" if row.action_url else STATUS[row.state]
    return TopUpView.model_validate({**row._mapping, "status": status})


async def wallet(connection: AsyncConnection, channel: str, payer: str) -> list[Balance]:
    """Return the balances of the payer's wallet, one per currency; empty when it was never used."""
    found = await ledger.wallet_balances(connection, channel, payer)
    return [
        Balance(
            currency=each.currency,
            balance_minor=each.balance_minor,
            held_minor=each.held_minor,
            available_minor=each.available_minor,
        )
        for each in found
    ]


def _payment(row: Row[Any]) -> PaymentView:
    number = receipts.number_of(row.id, row.finished_at) if row.state in CAPTURED else None
    status = "action_required" if row.action_url else STATUS[row.state]
    return PaymentView.model_validate({**row._mapping, "status": status, "receipt_number": number})
