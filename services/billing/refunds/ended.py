"""Refunds that have succeeded, and of which the PSP may report later that they failed."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.outside.ended import Ended, in_words, locks
from services.billing.payments.read import find_paid
from services.billing.refunds.tables import RefundState
from services.billing.subject import Kind, Subject

_READ = text(f"""
    SELECT id, payment_id, amount_minor, state, reason, transfer_id FROM refunds
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = '{RefundState.SUCCEEDED}'
""")  # noqa: S608 - the states are our own constants
LOCK = locks("refunds")


async def lock_ended(connection: AsyncConnection, id: UUID) -> UUID | None:
    """Lock a refund that the PSP has made; return the id of the transfer that booked it."""
    await connection.execute(LOCK, {"ids": [id]})
    ended = await read_ended(connection, [id])
    return ended[0].transfer_id if ended else None


async def read_ended(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Ended]:
    """Return those of these refunds that have succeeded, of payments that the PSP funded."""
    if not ids:
        return []
    rows = (await connection.execute(_READ, {"ids": list(ids)})).all()
    paid = await find_paid(connection, list({row.payment_id for row in rows}))
    ended_refunds: list[Ended] = []
    for row in rows:
        payment = paid.get(row.payment_id)
        if payment is not None and payment.intent_id is not None:
            ended_refunds.append(
                Ended(
                    Subject(Kind.REFUND, row.id),
                    payment.intent_id,
                    row.amount_minor,
                    payment.currency,
                    in_words(row.state, row.reason),
                    row.transfer_id,
                )
            )
    return ended_refunds
