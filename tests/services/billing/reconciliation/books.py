"""Books to reconcile: payments, refunds and top-ups as they stand when they are done, planted a set at a time."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.china import bounds_of
from events.ids import derived_id, uuid7
from services.billing import ledger, receipts
from services.billing.payments.model import serial_of
from services.billing.reconciliation.lines import PSP, Line, Source
from services.billing.reconciliation.store import StoredStatement, store

DAY = date(2026, 11, 23)
NOON = datetime(2026, 11, 23, 4, tzinfo=UTC)  # 12:00 in Shanghai
WATER = Source("biller", "hz-water")

_BILLER = text("""
    INSERT INTO billers (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
        account_number_hint_zh, account_number_hint_en)
    VALUES (:id, '水', 'Water', 'CNY', :settled_by, '{"dialect": "json", "url": "http://127.0.0.1:9"}', '^[0-9]{10}$',
        '10', '10')
    ON CONFLICT DO NOTHING
""")
_ACCOUNTS = text("""
    INSERT INTO accounts (id, biller_id, account_number)
    SELECT id, :biller, CAST(id AS text) FROM unnest(CAST(:ids AS uuid[])) AS a (id)
""")
_BILLS = text("""
    INSERT INTO bills (id, account_id, bill_number, period, amount_minor, currency, rule, expires_at)
    SELECT b.id, b.account, 'B-' || b.id, '2026-11', b.amount, 'CNY', 'exact', now() + interval '1 day'
    FROM unnest(CAST(:ids AS uuid[]), CAST(:accounts AS uuid[]), CAST(:amounts AS bigint[])) AS b (id, account, amount)
""")
_PAYMENTS = text("""
    INSERT INTO payments (id, channel_id, payer, bill_id, biller_id, account_id, amount_minor, currency, funding,
        payment_method, request_hash, state, captured_minor, version, finished_at)
    SELECT p.id, 'app', 'payer', p.bill, :biller, p.account, p.amount, 'CNY', CAST(:funding AS text),
        CASE WHEN :funding = 'psp' THEN 'pm_card_visa' END, '', CAST(:state AS text),
        CASE WHEN :state = 'succeeded' THEN p.amount ELSE 0 END, 1,
        CASE WHEN :state IN ('succeeded', 'voided') THEN CAST(:at AS timestamptz) END
    FROM unnest(CAST(:ids AS uuid[]), CAST(:bills AS uuid[]), CAST(:accounts AS uuid[]), CAST(:amounts AS bigint[]))
        AS p (id, bill, account, amount)
""")
_ERRANDS = text("""
    INSERT INTO errands (kind, subject, institution, leg)
    SELECT 'payment', id, 'psp', 'capture' FROM unnest(CAST(:ids AS uuid[])) AS p (id)
""")
_REFUND = text("""
    INSERT INTO refunds (id, transfer_id, payment_id, amount_minor, request_hash, state, finished_at)
    VALUES (:id, :transfer, :payment, :amount, '', 'succeeded', :at)
""")
_REFUNDED = text("""
    UPDATE payments SET refunded_minor = refunded_minor + :amount,
        state = CASE WHEN refunded_minor + :amount = captured_minor THEN 'refunded' ELSE 'partially_refunded' END
    WHERE id = :payment RETURNING state, amount_minor, biller_id, funding, finished_at
""")
_TOP_UP = text("""
    INSERT INTO top_ups (id, transfer_id, channel_id, payer, amount_minor, currency, payment_method, request_hash,
        state, version, finished_at)
    VALUES (:id, :transfer, 'app', 'payer', :amount, 'CNY', 'pm_card_visa', '', 'succeeded', 1, :at)
""")
_PROMISES = text("""
    INSERT INTO payment_requests (id, kind, channel_id, payer, subject, amount_minor, currency)
    SELECT id, 'payment', channel_id, payer, bill_id, amount_minor, currency FROM payments
    UNION ALL SELECT f.id, 'refund', p.channel_id, p.payer, p.id, f.amount_minor, p.currency
    FROM refunds f JOIN payments p ON p.id = f.payment_id
    UNION ALL SELECT id, 'top_up', channel_id, payer, NULL, amount_minor, currency FROM top_ups
    ON CONFLICT DO NOTHING
""")
WALLET = ledger.wallet("app", "payer", "CNY")


async def post(engine: AsyncEngine, transfers: Sequence[ledger.Transfer]) -> None:
    """Book these transfers."""
    async with engine.begin() as connection:
        await ledger.post(connection, transfers)


async def pay(
    engine: AsyncEngine,
    amounts: Sequence[int],
    *,
    at: datetime = NOON,
    biller: str = WATER.id,
    funding: str = "psp",
    state: str = "succeeded",
    settled_by: str = "call",
    ids: Sequence[UUID] = (),
) -> list[UUID]:
    """Payments of these amounts, one account and one bill each; their ids. Only succeeded ones have moved money."""
    new, bills, accounts = ([uuid7() for _ in amounts] for _ in range(3))
    ids = list(ids) or new
    about = {"ids": ids, "bills": bills, "accounts": accounts, "amounts": list(amounts)}
    async with engine.begin() as connection:
        await connection.execute(_BILLER, {"id": biller, "settled_by": settled_by})
        await connection.execute(_ACCOUNTS, {"biller": biller, "ids": accounts})
        await connection.execute(_BILLS, {**about, "ids": bills})
        await connection.execute(
            _PAYMENTS, {**about, "biller": biller, "funding": funding, "state": state, "at": at}
        )
        if state != "succeeded":
            if state != "voided":
                await connection.execute(_ERRANDS, {"ids": ids})
            return ids
        await receipts.issue(
            connection,
            [
                receipts.NewReceipt(id, biller, account, f"B-{bill}", "2026-11", amount, "CNY", at)
                for id, account, bill, amount in zip(ids, accounts, bills, amounts, strict=True)
            ],
        )
    await book_payments(engine, ids, amounts, at=at, biller=biller, funding=funding)
    return ids


async def book_payments(
    engine: AsyncEngine,
    ids: Sequence[UUID],
    amounts: Sequence[int],
    *,
    at: datetime = NOON,
    biller: str = WATER.id,
    funding: str = "psp",
) -> None:
    """The transfers of payments."""
    source = ledger.psp_clearing("CNY") if funding == "psp" else WALLET
    await post(
        engine,
        [
            ledger.pay_bill(id, source, biller, amount, at)
            for id, amount in zip(ids, amounts, strict=True)
        ],
    )


async def refund(
    engine: AsyncEngine,
    payment_id: UUID,
    amount: int,
    *,
    at: datetime = NOON,
    id: UUID | None = None,
    transfer_id: UUID | None = None,
    to_wallet: bool = False,
) -> UUID:
    """A succeeded refund of a payment; its id."""
    id = id or uuid7()
    transfer_id = transfer_id or derived_id("refund", id)
    about = {"id": id, "transfer": transfer_id, "payment": payment_id, "amount": amount, "at": at}
    async with engine.begin() as connection:
        await connection.execute(_REFUND, about)
        row = (await connection.execute(_REFUNDED, {"payment": payment_id, "amount": amount})).one()
        if row.state == "refunded":
            await receipts.void(connection, {payment_id: row.finished_at}, "refunded")
    source = ledger.psp_clearing("CNY") if row.funding == "psp" else WALLET
    paid = ledger.pay_bill(payment_id, source, row.biller_id, row.amount_minor, row.finished_at)
    if to_wallet:
        await post(engine, [ledger.refund_to_wallet(transfer_id, paid, WALLET, amount, at)])
    else:
        await post(engine, [ledger.refund(transfer_id, paid, amount, at)])
    return id


async def top_up(
    engine: AsyncEngine,
    amount: int,
    *,
    at: datetime = NOON,
    id: UUID | None = None,
    transfer_id: UUID | None = None,
) -> UUID:
    """A succeeded top-up of the wallet; its id."""
    id = id or uuid7()
    transfer_id = transfer_id or derived_id("top_up", id)
    async with engine.begin() as connection:
        about = {"id": id, "transfer": transfer_id, "amount": amount, "at": at}
        await connection.execute(_TOP_UP, about)
    await post(engine, [ledger.top_up(transfer_id, WALLET, amount, at)])
    return id


async def make_some(engine: AsyncEngine) -> None:
    """Something of everything."""
    await top_up(engine, 10_000)
    paid = await pay(engine, [100, 200])
    await refund(engine, paid[0], 30)
    await refund(engine, (await pay(engine, [300], funding="wallet"))[0], 300)
    await pay(engine, [400], state="applied")
    await pay(engine, [500], state="voided")
    await promise_all(engine)


async def promise_all(engine: AsyncEngine) -> None:
    """The HTTP door's promises of everything that there is."""
    async with engine.begin() as connection:
        await connection.execute(_PROMISES)


def charge(id: UUID, amount: int, *, at: datetime = NOON, currency: str = "CNY") -> Line:
    """The PSP's line of a payment."""
    return Line("charge", str(id), id, amount, currency, at, {"id": f"txn_{id.hex}"})


def top_up_line(id: UUID, amount: int, *, at: datetime = NOON) -> Line:
    """The PSP's line of a top-up."""
    our_id = derived_id("top_up", id)
    return Line("charge", str(id), our_id, amount, "CNY", at, {"id": f"txn_{id.hex}"})


def refund_line(id: UUID, amount: int, *, at: datetime = NOON) -> Line:
    """The PSP's line of a refund."""
    our_id = derived_id("refund", id)
    return Line("refund", str(id), our_id, -amount, "CNY", at, {"id": f"txn_{id.hex}"})


def apply(id: UUID, amount: int, *, at: datetime = NOON) -> Line:
    """A biller's line of a payment."""
    return Line("apply", serial_of(id), id, amount, "CNY", at, {"bill_number": "B"})


def unapply(id: UUID, amount: int, *, at: datetime = NOON) -> Line:
    """A biller's line of a payment whose mark was taken back."""
    return Line("unapply", serial_of(id), id, -amount, "CNY", at, {"bill_number": "B"})


async def keep(
    engine: AsyncEngine, lines: Sequence[Line], *, source: Source = PSP, day: date = DAY
) -> StoredStatement:
    """Import these lines as the source's statement of a day."""
    async with engine.begin() as connection:
        return await store(connection, source, day, lines)


async def open_breaks(
    engine: AsyncEngine, source: Source | None = None
) -> list[tuple[str, str, str]]:
    """Return the open breaks, as (type, kind, reference)."""
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT type, kind, reference FROM breaks
                WHERE state = 'open' AND (CAST(:source AS text) IS NULL OR source_id = :source) ORDER BY 1, 2, 3
            """),
            {"source": source.id if source else None},
        )
        return [tuple(row) for row in rows]


async def everything(engine: AsyncEngine) -> dict[str, list[tuple[object, ...]]]:
    """All that reconciliation has kept, to compare before with after."""
    async with engine.connect() as connection:
        return {
            table: [
                tuple(row)
                for row in await connection.execute(text(f"SELECT * FROM {table} ORDER BY id"))
            ]
            for table in ("statements", "statement_lines", "matches", "breaks")
        }


def just_before_midnight() -> datetime:
    """The last second of DAY."""
    return bounds_of(DAY)[1] - timedelta(seconds=1)


def just_after_midnight() -> datetime:
    """The first second after DAY."""
    return bounds_of(DAY)[1] + timedelta(seconds=1)
