"""Read a biller's file of bills: CSV, UTF-8, one bill per line, amounts as integers of minor units.

    account_number,bill_number,period,amount_minor,currency,rule,min_minor,max_minor,multiple_minor,due_on,expires_at
    1000200030,2026-11-1,2026-11,8850,CNY,exact,,,,2026-12-10,2026-12-31T23:59:59+08:00

The errors of a bad row name its line and field and never its content, because an account number is personal data.
"""

import csv
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import chain
from pathlib import Path
from typing import cast

from events import bounds
from events.bills import AmountRule
from services.billing.bills.connectors import BillerBill
from services.billing.bills.validate import faults_of

COLUMNS = (
    "account_number",
    "bill_number",
    "period",
    "amount_minor",
    "currency",
    "rule",
    "min_minor",
    "max_minor",
    "multiple_minor",
    "due_on",
    "expires_at",
)


class FileError(ValueError):
    """The file as a whole cannot be read; the text says what to do."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """A good row."""

    line: int
    account_number: str
    bill: BillerBill


@dataclass(frozen=True, slots=True)
class BadLine:
    """A bad row: its fields unchanged, and its faults as pairs of field and text."""

    line: int
    cells: list[str]
    faults: list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Expected:
    """The properties that all of the biller's bills must have."""

    currency: str
    account_number_pattern: str


def read_bills(path: Path, expected: Expected) -> Iterator[BillLine | BadLine]:
    """Yield the rows of the file, one by one, so that the file may be large. Raises FileError and OSError."""
    account = re.compile(expected.account_number_pattern)
    seen: dict[tuple[str, str], int] = {}
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.reader(file, strict=True)
        try:
            header = next(rows, [])
            if tuple(header) != COLUMNS:
                raise FileError(f"line 1: the header must be {','.join(COLUMNS)}")
            for cells in rows:
                if not cells:
                    continue
                found = _read(rows.line_num, cells, account, expected.currency)
                if isinstance(found, BillLine):
                    key = found.account_number, found.bill.bill_number
                    first = seen.setdefault(key, found.line)
                    if first != found.line:
                        fault = f"the same bill is in line {first} already; leave one out"
                        found = BadLine(found.line, cells, [("bill_number", fault)])
                yield found
        except UnicodeDecodeError as error:
            raise FileError(f"after line {rows.line_num}: not UTF-8; save the file so") from error
        except csv.Error as error:
            raise FileError(f"line {rows.line_num}: not CSV: {error}") from error


def _read(
    line: int, cells: list[str], account: re.Pattern[str], currency: str
) -> BillLine | BadLine:
    if len(cells) != len(COLUMNS):
        fault = f"{len(cells)} fields; {len(COLUMNS)} are needed, empty ones too"
        return BadLine(line, cells, [("line", fault)])
    row = dict(zip(COLUMNS, (cell.strip() for cell in cells), strict=True))
    fields = _Fields(row)
    bill = BillerBill(
        bill_number=row["bill_number"],
        period=row["period"],
        amount_minor=fields.amount("amount_minor") or 0,
        currency=row["currency"],
        rule=cast(AmountRule, row["rule"]),  # checked with the rest, below
        expires_at=fields.moment("expires_at"),
        min_minor=fields.amount("min_minor", optional=True),
        max_minor=fields.amount("max_minor", optional=True),
        multiple_minor=fields.amount("multiple_minor", optional=True),
        due_on=fields.day("due_on"),
    )
    number = row["account_number"]
    fits = len(number) <= bounds.ACCOUNT_NUMBER and bounds.is_storable(number)
    if not fits or not account.fullmatch(number):
        fields.faults.append(("account_number", "is not of the form that the catalogue says"))
    # A field that cannot be read is reported once, not for its stand-in value, too.
    reported = {name for name, _ in fields.faults}
    faults = chain(
        fields.faults, (each for each in faults_of(bill, currency) if each[0] not in reported)
    )
    found = list(faults)
    return BadLine(line, cells, found) if found else BillLine(line, number, bill)


class _Fields:
    """Reads fields of a row; for a field that cannot be read it notes a fault and returns a stand-in value."""

    def __init__(self, row: dict[str, str]) -> None:
        self._row = row
        self.faults: list[tuple[str, str]] = []

    def amount(self, name: str, *, optional: bool = False) -> int | None:
        """Read an integer of minor units."""
        value = self._row[name]
        if optional and not value:
            return None
        # int() would take "1_000" and digits of other scripts.
        if re.fullmatch(r"-?[0-9]{1,18}", value):
            return int(value)
        self.faults.append((name, "must be a whole number of minor units: 8850 for 88.50"))
        return None

    def day(self, name: str) -> date | None:
        """Read a date; None for an empty field."""
        value = self._row[name]
        try:
            return date.fromisoformat(value) if value else None
        except ValueError:
            self.faults.append((name, "must be a date like 2026-12-10, or empty"))
            return None

    def moment(self, name: str) -> datetime:
        """Read a time with its offset."""
        try:
            return datetime.fromisoformat(self._row[name])
        except ValueError:
            self.faults.append((name, "must be a time like 2026-12-31T23:59:59+08:00"))
            return datetime.now(UTC)
