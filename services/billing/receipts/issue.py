"""Issue receipts in the transaction in which their payments succeed, and void them when all money went back."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import copy
from services.billing.receipts.number import number_of

VoidReason = Literal["refunded", "reversed"]


class NewReceipt(NamedTuple):
    """The content of a receipt. A tuple, because the hot path makes thousands and turns them into columns."""

    payment_id: UUID
    biller_id: str
    account_id: UUID
    bill_number: str
    period: str
    amount_minor: int
    currency: str
    issued_at: datetime


_COLUMNS = ("number", *NewReceipt._fields)
_VOID = text("""
    UPDATE receipts SET voided_at = now(), void_reason = :reason
    WHERE number = ANY(CAST(:numbers AS text[])) AND voided_at IS NULL
    RETURNING payment_id, number
""")


async def issue(connection: AsyncConnection, receipts: Sequence[NewReceipt]) -> list[str]:
    """Insert the receipts in the caller's transaction; return their numbers in the same order.

    Raises IntegrityError when a payment has a receipt already, or when another payment has the same number (about
    once in thousands of years).
    """
    numbers = [number_of(each.payment_id, each.issued_at) for each in receipts]
    await copy(
        connection,
        "receipts",
        _COLUMNS,
        [(number, *each) for number, each in zip(numbers, receipts, strict=True)],
    )
    return numbers


async def void(
    connection: AsyncConnection, finished: Mapping[UUID, datetime], reason: VoidReason
) -> dict[UUID, str]:
    """Void the receipts of these payments; return the numbers that became void now, by payment.

    `finished` has the time at which each payment finished, from which its receipt's number is derived. An index on
    receipts would cost every payment something, and voiding is rare.
    """
    if not finished:
        return {}
    numbers = sorted(number_of(id, moment) for id, moment in finished.items())
    voided = await connection.execute(_VOID, {"numbers": numbers, "reason": reason})
    return {row.payment_id: row.number for row in voided}
