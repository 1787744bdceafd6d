"""Factories for test data: a channel, a biller, a bill, money in a wallet; all details have defaults."""

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.bills import AmountRule
from events.ids import derived_id, uuid7
from events.payments import (
    Funding,
    PayBill,
    PspFunding,
    RefundPayment,
    TopUpWallet,
    WalletFunding,
    WalletToppedUp,
)
from messaging.outbox import Outgoing, enqueue
from services.billing import ledger
from services.billing.channels import create_channel, issue_key
from services.billing.instruction import Instruction
from services.billing.subject import Kind, Subject

CHANNEL = "city-app"
PAYER = "payer-1"


async def make_channel(
    engine: AsyncEngine, id: str = CHANNEL, *, limit_minor: int = 5_000_000
) -> str:
    """Create a channel with an API key; return the key."""
    async with engine.begin() as connection:
        await create_channel(connection, id, f"The channel {id}", limit_minor)
        return await issue_key(connection, id)


async def make_biller(
    engine: AsyncEngine,
    id: str = "power",
    *,
    settled_by: str = "file",
    dialect: str | None = None,
    url: str = "",
    currency: str = "CNY",
    timeout_ms: int = 1_000,
    max_concurrency: int = 32,
    late_effect_seconds: int = 120,
) -> str:
    """Create a biller: settled by file by default, or called at `url` in a dialect."""
    connector: dict[str, Any] = {"dialect": dialect or "file"} | ({"url": url} if url else {})
    async with engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO billers (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
                    account_number_hint_zh, account_number_hint_en, timeout_ms, max_concurrency, late_effect_seconds)
                VALUES (:id, :id, :id, :currency, :settled_by, CAST(:connector AS jsonb), '^[0-9]{8,12}$',
                    '户号', 'account number', :timeout, :places, :late)
                ON CONFLICT DO NOTHING
            """),
            {
                "id": id,
                "currency": currency,
                "settled_by": settled_by,
                "connector": json.dumps(connector),
                "timeout": timeout_ms,
                "places": max_concurrency,
                "late": late_effect_seconds,
            },
        )
    return id


async def make_account(
    engine: AsyncEngine, biller_id: str = "power", account_number: str = "10000001"
) -> UUID:
    """Return the id of an account at a biller; create it if it does not exist."""
    async with engine.begin() as connection:
        values = {"id": uuid7(), "biller": biller_id, "number": account_number}
        await connection.execute(
            text("""
                INSERT INTO accounts (id, biller_id, account_number) VALUES (:id, :biller, :number)
                ON CONFLICT DO NOTHING
            """),
            values,
        )
        result = await connection.execute(
            text("SELECT id FROM accounts WHERE biller_id = :biller AND account_number = :number"),
            values,
        )
        id: UUID = result.scalar_one()
        return id


async def make_bill(
    engine: AsyncEngine,
    biller_id: str = "power",
    *,
    account_number: str = "10000001",
    amount_minor: int = 8_850,
    currency: str = "CNY",
    rule: AmountRule = "exact",
    min_minor: int | None = None,
    max_minor: int | None = None,
    multiple_minor: int | None = None,
    bill_number: str | None = None,
    expires_in: timedelta = timedelta(hours=1),
    closed: bool = False,
) -> UUID:
    """Create a bill that can be paid, unless it is expired or closed."""
    account_id = await make_account(engine, biller_id, account_number)
    id = uuid7()
    now = datetime.now(UTC)
    async with engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO bills (id, account_id, bill_number, period, amount_minor, currency, rule, min_minor,
                    max_minor, multiple_minor, expires_at, closed_at)
                VALUES (:id, :account, :number, '2026-10', :amount, :currency, :rule, :min, :max, :multiple, :expires,
                    :closed)
            """),
            {
                "id": id,
                "account": account_id,
                "number": bill_number or f"B{id.hex[-12:]}",
                "amount": amount_minor,
                "currency": currency,
                "rule": rule,
                "min": min_minor,
                "max": max_minor,
                "multiple": multiple_minor,
                "expires": now + expires_in,
                "closed": now if closed else None,
            },
        )
    return id


async def make_bills(engine: AsyncEngine, number: int, **bill: Any) -> list[UUID]:
    """Create several bills of one account."""
    return [await make_bill(engine, **bill) for _ in range(number)]


async def fund_wallet(
    engine: AsyncEngine,
    amount_minor: int,
    *,
    channel: str = CHANNEL,
    payer: str = PAYER,
    currency: str = "CNY",
) -> None:
    """Put money into a wallet, as a top-up does, but without the PSP."""
    wallet = ledger.wallet(channel, payer, currency)
    id = uuid7()
    transfer = ledger.top_up(derived_id("top_up", id), wallet, amount_minor, datetime.now(UTC))
    facts = {
        "top_up_id": id,
        "channel": channel,
        "payer": payer,
        "amount_minor": amount_minor,
        "currency": currency,
    }
    async with engine.begin() as connection:
        await connection.execute(
            text("""
                INSERT INTO top_ups (id, transfer_id, channel_id, payer, amount_minor, currency, payment_method,
                    request_hash, state, version, finished_at)
                VALUES (:top_up_id, :transfer_id, :channel, :payer, :amount_minor, :currency, 'pm_card_visa', '',
                    'succeeded', 1, now())
            """),
            {**facts, "transfer_id": transfer.id},
        )
        await ledger.post(connection, [transfer])
        await enqueue(connection, [Outgoing.of(WalletToppedUp.model_validate(facts), 1)])


def a_payment() -> Subject:
    """Return the subject of a payment that is in no table."""
    return Subject(Kind.PAYMENT, uuid4())


def a_refund() -> Subject:
    """Return the subject of a refund that is in no table."""
    return Subject(Kind.REFUND, uuid4())


def pay_bill(
    bill_id: UUID,
    *,
    amount_minor: int = 8_850,
    payment_id: UUID | None = None,
    channel: str = CHANNEL,
    payer: str = PAYER,
    currency: str = "CNY",
    method: str | None = None,
) -> Instruction[PayBill]:
    """Return an instruction to pay a bill: from the wallet, or with the PSP's `method`."""
    funding: Funding = PspFunding(payment_method=method) if method else WalletFunding()
    command = PayBill(
        payment_id=payment_id or uuid7(),
        channel=channel,
        payer=payer,
        bill_id=bill_id,
        amount_minor=amount_minor,
        currency=currency,
        funding=funding,
    )
    return Instruction(command, correlation_id="test-run")


def refund_payment(
    payment_id: UUID,
    amount_minor: int | None = None,
    *,
    refund_id: UUID | None = None,
    channel: str = CHANNEL,
) -> Instruction[RefundPayment]:
    """Return an instruction to refund a part, or all that is left."""
    return Instruction(
        RefundPayment(
            refund_id=refund_id or uuid7(),
            payment_id=payment_id,
            channel=channel,
            amount_minor=amount_minor,
        )
    )


def top_up_wallet(
    amount_minor: int = 10_000,
    *,
    top_up_id: UUID | None = None,
    channel: str = CHANNEL,
    payer: str = PAYER,
    method: str = "pm_card_visa",
) -> Instruction[TopUpWallet]:
    """Return an instruction to top up a wallet."""
    return Instruction(
        TopUpWallet(
            top_up_id=top_up_id or uuid7(),
            channel=channel,
            payer=payer,
            amount_minor=amount_minor,
            currency="CNY",
            payment_method=method,
        )
    )
