"""Find a receipt: by its number for anyone, by its payment for the channel.

Everything that is not in the receipt's row is read by primary key through its owner's view: the biller's names, the
last digits of the account number, the payment's channel and refunded amount. Copies in the row would cost every
payment some bytes and could disagree, for a page that few people open.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.receipts.number import number_of

State = Literal["valid", "partially_refunded", "refunded", "reversed"]

# The rest of the account number never leaves the database.
_FIND = text("""
    SELECT r.number, r.payment_id, r.biller_id, b.name_zh AS biller_zh, b.name_en AS biller_en,
        a.ending AS account_ending, r.bill_number, r.period, r.amount_minor, r.currency, r.issued_at, r.voided_at,
        r.void_reason, p.channel_id, p.refunded_minor
    FROM receipts r
    JOIN finished_payments p ON p.id = r.payment_id
    JOIN account_endings a ON a.id = r.account_id
    JOIN biller_terms b ON b.id = r.biller_id
    WHERE r.number = :number
""")
_FINISHED = text(
    "SELECT finished_at FROM finished_payments WHERE id = :id AND channel_id = :channel"
)


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt in its present state."""

    number: str
    payment_id: UUID
    biller_id: str
    biller_zh: str
    biller_en: str
    account_ending: str
    bill_number: str
    period: str
    amount_minor: int
    currency: str
    issued_at: datetime
    voided_at: datetime | None
    void_reason: Literal["refunded", "reversed"] | None
    channel_id: str
    refunded_minor: int

    @property
    def state(self) -> State:
        """The receipt's state: valid, partially refunded, or void."""
        if self.void_reason:
            return self.void_reason
        return "partially_refunded" if self.refunded_minor else "valid"


async def find(connection: AsyncConnection, number: str) -> Receipt | None:
    """Return the receipt with this number (as from `number.read`), or None."""
    row = (await connection.execute(_FIND, {"number": number})).first()
    return Receipt(**row._mapping) if row else None


async def find_of_payment(
    connection: AsyncConnection, payment_id: UUID, channel: str
) -> Receipt | None:
    """Return the receipt of the channel's payment; None when it has none or belongs to another channel."""
    finished_at = await connection.scalar(_FINISHED, {"id": payment_id, "channel": channel})
    if finished_at is None:
        return None
    return await find(connection, number_of(payment_id, finished_at))
