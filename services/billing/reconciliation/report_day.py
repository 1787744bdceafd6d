"""Write our day files for billers that work by file: payments, and payments of which all money has gone back.

The ledger decides what belongs to a day, so the file and its reconciliation cannot disagree about midnight. A partial
refund has no line: it is netted with the remittance.
"""

from dataclasses import dataclass
from datetime import date
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.china import CHINA, bounds_of
from chassis.database import one_of
from services.billing import ledger
from services.billing.bills.connectors import Connectors, DayFileLine
from services.billing.bills.connectors.file import FileConnector
from services.billing.catalog import all_billers
from services.billing.payments.model import serial_of

_TAKES_BACK = one_of("kind", ledger.TAKES_BACK)
_LINES = text(f"""
    WITH today AS (
        SELECT * FROM booked_transfers WHERE occurred_at >= :since AND occurred_at < :until
    ),
    applied AS (
        SELECT t.id AS payment_id, t.amount_minor, t.currency, 'apply' AS kind, t.occurred_at
        FROM today t WHERE t.kind = 'pay_bill' AND t.credit_account = ANY(CAST(:accounts AS bigint[]))
    ),
    unapplied AS (
        SELECT paid.id, paid.amount_minor, paid.currency, 'unapply', max(t.occurred_at)
        FROM (
            SELECT DISTINCT corrects FROM today
            WHERE {_TAKES_BACK} AND debit_account = ANY(CAST(:accounts AS bigint[]))
        ) AS touched
        JOIN booked_transfers paid ON paid.id = touched.corrects
        JOIN booked_transfers t ON t.corrects = paid.id AND t.{_TAKES_BACK}
        GROUP BY paid.id, paid.amount_minor, paid.currency
        HAVING sum(t.amount_minor) = paid.amount_minor AND max(t.occurred_at) < :until
    )
    SELECT l.payment_id, b.bill_number, l.amount_minor, l.currency, l.kind, l.occurred_at
    FROM (SELECT * FROM applied UNION ALL SELECT * FROM unapplied) AS l
    JOIN finished_payments p ON p.id = l.payment_id JOIN bill_numbers b ON b.id = p.bill_id
    ORDER BY l.occurred_at, l.payment_id, l.kind
""")  # noqa: S608 - our own kinds


@dataclass(frozen=True, slots=True)
class Reported:
    """Our day file for one biller."""

    biller_id: str
    path: Path
    lines: int


async def report_day(engine: AsyncEngine, connectors: Connectors, day: date) -> list[Reported]:
    """Write the day's file for every active biller that works by file. Writing it again gives the same file."""
    async with engine.connect() as connection:
        billers = await all_billers(connection)
    reported = []
    for biller_id in [each.id for each in billers if each.active and each.settled_by == "file"]:
        connector = (await connectors.of(biller_id)).inner
        if isinstance(connector, FileConnector):
            lines = await read_lines(engine, biller_id, day)
            reported.append(Reported(biller_id, connector.report(day, lines), len(lines)))
    return reported


async def read_lines(engine: AsyncEngine, biller_id: str, day: date) -> list[DayFileLine]:
    """Return the lines of a biller's day file."""
    since, until = bounds_of(day)
    address = ledger.payable(biller_id, "").address
    async with engine.connect() as connection:
        accounts = await ledger.accounts_at(connection, address)
        rows = await connection.execute(
            _LINES, {"accounts": accounts, "since": since, "until": until}
        )
        return [
            DayFileLine(
                serial_of(row.payment_id),
                row.bill_number,
                row.amount_minor,
                row.currency,
                row.kind,
                row.occurred_at.astimezone(CHINA),
            )
            for row in rows
        ]
