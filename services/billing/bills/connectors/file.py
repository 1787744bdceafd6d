"""The connector of billers that work by file only: bills come in a file, payments go back in our day file.

A lookup returns the imported bills. Payments are not applied one by one: at the end of the day the biller gets
`outgoing/<day>.txt` and answers with `incoming/<day>.txt`, its own list, which reconciliation reads.
"""

import asyncio
import os
from datetime import UTC, date, datetime
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.bills.connectors import day_file
from services.billing.bills.connectors.protocol import (
    Application,
    Applied,
    ApplyAnswer,
    BillerBill,
    DayFileLine,
    Found,
    LookupAnswer,
    NoSuchAccount,
    NothingOwed,
    QueryAnswer,
    Unapplied,
    UnapplyAnswer,
)

# An account is opened for any lookup; the biller has only the accounts for which it ever sent a bill.
_ACCOUNT = text("""
    SELECT a.id FROM accounts a WHERE a.biller_id = :biller AND a.account_number = :number
      AND EXISTS (SELECT FROM bills b WHERE b.account_id = a.id)
""")
# The biller's next file comes tomorrow, so bills paid since its last one are known from our own books.
_BILLS = text("""
    SELECT bill_number, period, amount_minor, currency, rule, expires_at, min_minor, max_minor, multiple_minor, due_on
    FROM bills b WHERE account_id = :account AND closed_at IS NULL AND expires_at > :now
        AND NOT EXISTS (SELECT FROM live_bills l WHERE l.bill_id = b.id AND l.paid)
    ORDER BY due_on, bill_number
""")


class FileConnector:
    """One biller's files, under `<data>/billers/<biller_id>/`."""

    def __init__(self, engine: AsyncEngine, biller_id: str, currency: str, data_dir: Path) -> None:
        self._engine = engine
        self._biller_id = biller_id
        self._currency = currency
        self.folder = data_dir / "billers" / biller_id

    async def lookup(self, account_number: str) -> LookupAnswer:
        """Return the imported bills of the account."""
        async with self._engine.connect() as connection:
            account = await connection.scalar(
                _ACCOUNT, {"biller": self._biller_id, "number": account_number}
            )
            if account is None:
                return NoSuchAccount()
            rows = await connection.execute(_BILLS, {"account": account, "now": datetime.now(UTC)})
            found = [BillerBill(*row) for row in rows]
        return Found(found) if found else NothingOwed()

    async def apply(self, application: Application) -> ApplyAnswer:
        """Return Applied without a call: the biller learns of it from our day file."""
        return Applied(application.serial)

    async def query(self, application: Application) -> QueryAnswer:
        """Return Applied without a call: the biller learns of it from our day file."""
        return Applied(application.serial)

    async def unapply(self, application: Application) -> UnapplyAnswer:
        """Return Unapplied without a call: the biller learns of it from our day file."""
        return Unapplied()

    async def day_file(self, day: date) -> bytes:
        """Return the biller's response to our day file. Raises OSError while the file is missing."""
        path = self.folder / "incoming" / f"{day:%Y%m%d}.txt"
        return await asyncio.to_thread(path.read_bytes)

    def parse_day_file(self, content: bytes) -> list[DayFileLine]:
        """Return the lines of a day file: UTF-8, amounts in fen."""
        return day_file.parse(content, self._currency)

    def report(self, day: date, lines: list[DayFileLine]) -> Path:
        """Write our day file for the biller, completely or not at all."""
        path = self.folder / "outgoing" / f"{day:%Y%m%d}.txt"
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial")
        with partial.open("w", encoding="utf-8", newline="") as file:
            file.write(day_file.write(lines))
            file.flush()
            os.fsync(file.fileno())
        return partial.rename(path)
