"""The operations of refunds on payments: lock them, reserve amounts, and book refunds that have ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.payments.tables import State

# SQL: the amount of a refund's payment that has not gone back yet, reserved or not. `r` is the refund.
NOT_GIVEN_BACK = """(
    SELECT p.captured_minor - p.refunded_minor FROM payments p WHERE p.id = r.payment_id)"""

_LOCK = text("""
    SELECT p.id, p.channel_id AS channel, p.state,
        p.captured_minor - p.refunded_minor - p.refund_pending_minor AS left_minor, p.correlation_id
    FROM payments p WHERE p.id = ANY(CAST(:ids AS uuid[])) ORDER BY p.id FOR NO KEY UPDATE
""")
_RESERVE = text("""
    UPDATE payments p SET refund_pending_minor = p.refund_pending_minor + r.amount
    FROM unnest(CAST(:ids AS uuid[]), CAST(:amounts AS bigint[])) AS r (id, amount) WHERE p.id = r.id
""")
# One row per payment, so several refunds of one payment in a batch are summed first.
_BOOK = text(f"""
    UPDATE payments p
    SET refund_pending_minor = p.refund_pending_minor - s.done - s.failed,
        refunded_minor = p.refunded_minor + s.done,
        version = p.version + s.events,
        state = CASE WHEN s.done = 0 THEN p.state
                     WHEN p.refunded_minor + s.done < p.captured_minor THEN '{State.PARTIALLY_REFUNDED}'
                     WHEN s.reversed THEN '{State.REVERSED}' ELSE '{State.REFUNDED}' END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:done AS bigint[]), CAST(:failed AS bigint[]), CAST(:events AS int[]),
        CAST(:reversed AS bool[])) AS s (id, done, failed, events, reversed)
    WHERE p.id = s.id
    RETURNING p.id, p.channel_id, p.payer, p.bill_id, p.biller_id, p.amount_minor, p.currency, p.funding, p.version,
        p.state, p.refunded_minor, p.correlation_id, p.finished_at
""")  # noqa: S608 - the states are our own constants


class Refundable(NamedTuple):
    """A locked payment, as far as a refund needs it."""

    id: UUID
    channel: str
    state: State
    left_minor: int
    correlation_id: str | None


@dataclass(slots=True)
class RefundSums:
    """The sums of one payment's refunds in a batch, in minor units; `events` is their number."""

    done_minor: int = 0
    failed_minor: int = 0
    events: int = 0
    reversed: bool = False


class BookedPayment(NamedTuple):
    """A payment after its refunds were booked."""

    id: UUID
    channel: str
    payer: str
    bill_id: UUID
    biller_id: str
    amount_minor: int
    currency: str
    funding: str
    version: int
    state: State
    refunded_minor: int
    correlation_id: str | None
    finished_at: datetime


async def lock(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[UUID, Refundable]:
    """Lock these payments in the caller's transaction; return those that exist, by id."""
    rows = await connection.execute(_LOCK, {"ids": sorted(set(ids))})
    return {
        row.id: Refundable(
            row.id, row.channel, State(row.state), row.left_minor, row.correlation_id
        )
        for row in rows
    }


async def reserve(connection: AsyncConnection, amounts: Mapping[UUID, int]) -> None:
    """Reserve these amounts on locked payments. A CHECK keeps refunds within the captured amount."""
    if amounts:
        values = {"ids": list(amounts), "amounts": list(amounts.values())}
        await connection.execute(_RESERVE, values)


async def book_refunds(
    connection: AsyncConnection, sums: Mapping[UUID, RefundSums]
) -> dict[UUID, BookedPayment]:
    """Book these refunds on locked payments: amounts, state, and the versions of their events."""
    rows = await connection.execute(
        _BOOK,
        {
            "ids": list(sums),
            "done": [each.done_minor for each in sums.values()],
            "failed": [each.failed_minor for each in sums.values()],
            "events": [each.events for each in sums.values()],
            "reversed": [each.reversed for each in sums.values()],
        },
    )
    return {row.id: BookedPayment(*row) for row in rows}
