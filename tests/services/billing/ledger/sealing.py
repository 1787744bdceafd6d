"""Books to seal: transfers a span apart, and sealing as the timer does."""

from datetime import UTC, datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from services.billing import ledger
from services.billing.ledger.seals import SPAN

NOON = datetime(2026, 11, 1, 4, tzinfo=UTC)
# The first span of `books`, some hours ago.
START = datetime.fromtimestamp(datetime.now(UTC).timestamp() // 60 * 60 - 3 * 3600, UTC)
WALLET = ledger.wallet("app", "payer-1", "CNY")
EVER = (datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC))


async def post(engine: AsyncEngine, *transfers: ledger.Transfer) -> None:
    async with engine.begin() as connection:
        await ledger.post(connection, transfers)


async def seal(engine: AsyncEngine) -> list[ledger.Seal]:
    async with engine.begin() as connection:
        return await ledger.seal(connection)


async def broken(engine: AsyncEngine) -> list[ledger.BrokenSeal]:
    async with engine.connect() as connection:
        return await ledger.broken_seals(connection, *EVER)


async def execute(engine: AsyncEngine, statement: str, **values: object) -> None:
    async with engine.begin() as connection:
        await connection.execute(text(statement), values)


async def make_books(engine: AsyncEngine, owner_engine: AsyncEngine) -> None:
    """A top-up, four payments and a refund of one of them, a span apart each. Nothing is sealed."""
    paid = [ledger.pay_bill(uuid7(), WALLET, "power", 100 + n, NOON) for n in range(4)]
    transfers = [ledger.top_up(uuid7(), WALLET, 5_000, NOON), *paid]
    transfers.append(ledger.refund(uuid7(), paid[0], 30, NOON))
    await post(engine, *transfers)
    for number, each in enumerate(transfers):
        await execute(
            owner_engine,
            "UPDATE transfers SET created_at = :at WHERE id = :id",
            at=START + number * SPAN,
            id=each.id,
        )


async def all_sealed(engine: AsyncEngine) -> list[ledger.Seal]:
    # What is over by now: with spans of milliseconds the next one is over whenever one is sealed.
    sealed: list[ledger.Seal] = []
    now = datetime.now(UTC)
    while (some := await seal(engine)) and some[-1].until < now:
        sealed += some
    return sealed + some
