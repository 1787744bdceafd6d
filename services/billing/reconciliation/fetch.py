"""Fetch statements from the PSP and the billers, and import them. The network comes first, with no transaction open."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from pydantic import ValidationError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.china import bounds_of
from services.billing.bills.connectors import Connectors, DayFileError, UnknownBillerError
from services.billing.catalog import all_billers
from services.billing.psp import BalanceTransaction, Psp, Unknown
from services.billing.psp.wire import WireBalancePage
from services.billing.reconciliation.book import book_declared
from services.billing.reconciliation.lines import PSP, Line, Source, of_day_file, of_psp
from services.billing.reconciliation.store import store

# Files are fetched from this many billers at once.
_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class StatementImported:
    """An imported statement. `booked` is the number of its fees and payouts that were new."""

    source: Source
    day: date
    version: int
    lines: int
    changed: bool
    booked: int = 0


@dataclass(frozen=True, slots=True)
class Unavailable:
    """There is no statement, or none that can be trusted; nothing was changed. Import again later."""

    source: Source
    day: date
    why: str


async def import_psp(engine: AsyncEngine, psp: Psp, day: date) -> StatementImported | Unavailable:
    """Import the PSP's statement of a day."""
    answer = await psp.balance_transactions(*bounds_of(day))
    if isinstance(answer, Unknown):
        return Unavailable(PSP, day, answer.why)
    return await _import(engine, PSP, day, of_psp(answer))


async def import_billers(
    engine: AsyncEngine, connectors: Connectors, day: date, biller_ids: Sequence[str] | None = None
) -> list[StatementImported | Unavailable]:
    """Import the day files of these billers, or of all active ones."""
    if biller_ids is None:
        async with engine.connect() as connection:
            biller_ids = [each.id for each in await all_billers(connection) if each.active]
    places = asyncio.Semaphore(_AT_ONCE)

    async def one(biller_id: str) -> StatementImported | Unavailable:
        async with places:
            return await _import_biller(engine, connectors, biller_id, day)

    return list(await asyncio.gather(*map(one, biller_ids)))


async def import_file(
    engine: AsyncEngine, connectors: Connectors, source: str, day: date, content: bytes
) -> StatementImported | Unavailable:
    """Import a statement from a file: the PSP's balance transactions as Stripe lists them, or a biller's day file."""
    if source == "psp":
        try:
            transactions = read_psp_file(content, day)
        except ValueError as error:
            return Unavailable(PSP, day, str(error))
        return await _import(engine, PSP, day, of_psp(transactions))
    return await _import_biller(engine, connectors, source, day, content)


def read_psp_file(content: bytes, day: date) -> list[BalanceTransaction]:
    """Parse a complete list of a day's balance transactions in the PSP's JSON. Raises ValueError."""
    try:
        page = WireBalancePage.model_validate_json(content)
    except ValidationError as error:
        raise ValueError(
            f"not a list of balance transactions: {error.error_count()} errors"
        ) from error
    if page.has_more:
        raise ValueError("the list goes on (has_more): a statement has to be complete")
    lines = [each.line() for each in page.data]
    since, until = bounds_of(day)
    strays = sum(not since <= each.created < until for each in lines)
    if strays:
        raise ValueError(f"{strays} lines are of other days than {day}")
    return lines


async def _import_biller(
    engine: AsyncEngine,
    connectors: Connectors,
    biller_id: str,
    day: date,
    content: bytes | None = None,
) -> StatementImported | Unavailable:
    source = Source("biller", biller_id)
    try:
        connector = await connectors.of(biller_id)
        lines = connector.parse_day_file(
            await connector.day_file(day) if content is None else content
        )
    except FileNotFoundError:
        return Unavailable(source, day, "the biller has not answered our day file yet")
    except (OSError, DayFileError, UnknownBillerError) as error:
        return Unavailable(source, day, str(error))
    return await _import(engine, source, day, of_day_file(lines))


async def _import(
    engine: AsyncEngine, source: Source, day: date, lines: Sequence[Line]
) -> StatementImported:
    async with engine.begin() as connection:
        stored = await store(connection, source, day, lines)
    booked = await book_declared(engine, stored.statement_id) if source == PSP else 0
    return StatementImported(source, day, stored.version, len(lines), stored.changed, booked)
