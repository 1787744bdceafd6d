"""Paid bills, planted where receipts read them: a biller, an account, a payment that succeeded, its receipt."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.ids import uuid7
from services.billing import receipts

PAID = datetime(2026, 11, 23, 2, 30, 5, tzinfo=UTC)


@dataclass(frozen=True)
class Paid:
    """A payment that succeeded, and the bill that it paid."""

    amount_minor: int = 8850
    channel: str = "citywallet"
    biller: str = "hz-water"
    name_zh: str = "杭州水务集团有限公司"
    name_en: str = "Hangzhou Water Group"
    account_number: str = "3301064417"
    period: str = "2026-10"
    currency: str = "CNY"
    at: datetime = PAID
    id: UUID = field(default_factory=uuid7)
    account_id: UUID = field(default_factory=uuid7)

    @property
    def receipt(self) -> receipts.NewReceipt:
        return receipts.NewReceipt(
            self.id,
            self.biller,
            self.account_id,
            "B-2026-10-1",
            self.period,
            self.amount_minor,
            self.currency,
            self.at,
        )


async def plant(connection: AsyncConnection, *payments: Paid) -> list[str]:
    """Write all of it; the receipts' numbers."""
    for each in payments:
        fields: dict[str, Any] = {**each.__dict__}
        await connection.execute(_BILLER, fields)
        await connection.execute(_ACCOUNT, fields)
        await connection.execute(_PAYMENT, fields)
    return await receipts.issue(connection, [each.receipt for each in payments])


async def refund(connection: AsyncConnection, payment: Paid, amount_minor: int) -> None:
    """Give this much of the payment back, as payments record it."""
    row = await connection.execute(
        text("""
            UPDATE payments SET refunded_minor = refunded_minor + :amount,
                state = CASE WHEN refunded_minor + :amount = captured_minor THEN 'refunded'
                             ELSE 'partially_refunded' END
            WHERE id = :id RETURNING state
        """),
        {"amount": amount_minor, "id": payment.id},
    )
    if row.scalar_one() == "refunded":
        await receipts.void(connection, {payment.id: payment.at}, "refunded")


_BILLER = text("""
    INSERT INTO billers (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
        account_number_hint_zh, account_number_hint_en)
    VALUES (:biller, :name_zh, :name_en, :currency, 'file', '{}', '.', '', '') ON CONFLICT DO NOTHING
""")
_ACCOUNT = text(
    "INSERT INTO accounts (id, biller_id, account_number) VALUES (:account_id, :biller, :account_number)"
)
_PAYMENT = text("""
    INSERT INTO payments (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency, funding,
        request_hash, state, captured_minor, version, finished_at)
    VALUES (:id, :channel, 'payer-1', gen_random_uuid(), :biller, :account_id, :amount_minor, :currency, 'wallet',
        '', 'succeeded', :amount_minor, 1, :at)
""")
