"""Issue receipts in the transaction that makes their payments succeed, and void them when all the money went back."""

from collections.abc import Sequence
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.receipts.number import number_of

VoidReason = Literal["refunded", "reversed"]


class NewReceipt(NamedTuple):
    """What a receipt says. A tuple, because the hot path makes thousands and turns them into columns."""

    payment_id: UUID
    biller_id: str
    account_id: UUID
    bill_number: str
    period: str
    amount_minor: int
    currency: str
    issued_at: datetime


class NumberTakenError(Exception):
    """Two payments lead to one receipt number: about once in thousands of years, and never unseen."""


_INSERT = text("""
    INSERT INTO receipts
        (number, payment_id, biller_id, account_id, bill_number, period, amount_minor, currency, issued_at)
    SELECT * FROM unnest(
        CAST(:numbers AS text[]), CAST(:payments AS uuid[]), CAST(:billers AS text[]), CAST(:accounts AS uuid[]),
        CAST(:bill_numbers AS text[]), CAST(:periods AS text[]), CAST(:amounts AS bigint[]),
        CAST(:currencies AS text[]), CAST(:issued AS timestamptz[]))
    ON CONFLICT (number) DO NOTHING
""")
_TAKEN = text("""
    SELECT n.payment_id FROM unnest(CAST(:numbers AS text[]), CAST(:payments AS uuid[])) AS n (number, payment_id)
    LEFT JOIN receipts r ON r.number = n.number AND r.payment_id = n.payment_id
    WHERE r.number IS NULL LIMIT 1
""")
_ISSUED = text("SELECT id, finished_at FROM payments WHERE id = ANY(CAST(:ids AS uuid[]))")
_VOID = text("""
    UPDATE receipts SET voided_at = now(), void_reason = :reason
    WHERE number = ANY(CAST(:numbers AS text[])) AND voided_at IS NULL
    RETURNING payment_id, number
""")


async def issue(connection: AsyncConnection, receipts: Sequence[NewReceipt]) -> list[str]:
    """Write the receipts in the caller's transaction, one statement; their numbers in the same order.

    A payment that has its receipt keeps it. Raises NumberTakenError when another payment has one of the numbers.
    """
    if not receipts:
        return []
    payments, billers, accounts, bill_numbers, periods, amounts, currencies, issued = zip(
        *receipts, strict=True
    )
    numbers = list(map(number_of, payments, issued))
    inserted = await connection.execute(
        _INSERT,
        {
            "numbers": numbers,
            "payments": payments,
            "billers": billers,
            "accounts": accounts,
            "bill_numbers": bill_numbers,
            "periods": periods,
            "amounts": amounts,
            "currencies": currencies,
            "issued": issued,
        },
    )
    if inserted.rowcount < len(numbers):
        taken = await connection.scalar(_TAKEN, {"numbers": numbers, "payments": payments})
        if taken is not None:
            raise NumberTakenError(
                f"the receipt number of payment {taken} belongs to another payment"
            )
    return numbers


async def void(
    connection: AsyncConnection, payment_ids: Sequence[UUID], reason: VoidReason
) -> dict[UUID, str]:
    """Void the receipts of these payments; the numbers that became void now, by payment.

    A receipt is issued at the moment in which its payment finished, so that moment is read from the payments, by
    primary key: an index on receipts would be paid for by every payment, and voiding is rare.
    """
    if not payment_ids:
        return {}
    rows = await connection.execute(_ISSUED, {"ids": list(payment_ids)})
    numbers = sorted(number_of(row.id, row.finished_at) for row in rows if row.finished_at)
    voided = await connection.execute(_VOID, {"numbers": numbers, "reason": reason})
    return {row.payment_id: row.number for row in voided}
