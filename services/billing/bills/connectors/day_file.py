"""Day files (日终对账): a header with count and total, then a line per apply or unapply, separated by `|`.

    2|4200
    20261123|<serial>|<bill number>|8850|apply|2026-11-23T09:30:00+08:00
    20261123|<serial>|<bill number>|4650|unapply|2026-11-23T10:00:00+08:00

The total counts applies less unapplies. A file whose header does not agree with its lines is refused as a whole.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from chassis.china import CHINA
from events.money import LARGEST_MINOR
from services.billing.bills.connectors.protocol import DayFileError, DayFileLine
from services.billing.bills.connectors.reading import moment, text

_KINDS: dict[str, Literal["apply", "unapply"]] = {"apply": "apply", "unapply": "unapply"}


def fen(text: str) -> int:
    """Parse fen: 8850, or -8850 for a total. Raises ValueError for other spellings of numbers."""
    if re.fullmatch(r"-?[0-9]{1,20}", text) is None:
        raise ValueError("an integer is expected")
    return int(text)


def parse(
    content: bytes,
    currency: str,
    encoding: str = "utf-8",
    minor: Callable[[str], int] = fen,
) -> list[DayFileLine]:
    """Parse a day file; `minor` parses the dialect's amounts. Raises DayFileError with the line's number."""
    try:
        rows = [row.removesuffix("\r") for row in content.decode(encoding).split("\n")]
    except UnicodeDecodeError as error:
        raise DayFileError(f"not {encoding}: byte {error.start}") from error
    if rows[-1] == "":
        rows.pop()
    if not rows:
        raise DayFileError("the file is empty; a day without payments still has its header")
    try:
        count, total = rows[0].split("|")
        expected = fen(count), minor(total)
    except ValueError as error:
        raise DayFileError("line 1: count|total expected") from error
    lines = [_line(number, row, currency, minor) for number, row in enumerate(rows[1:], 2)]
    found = len(lines), total_of(lines)
    if found != expected:
        raise DayFileError(
            f"the header says {expected[0]} lines and {expected[1]}, found {found[0]} and {found[1]}"
        )
    return lines


def write(lines: Sequence[DayFileLine], major: Callable[[int], str] = str) -> str:
    """Return the file with these lines."""
    rows = [f"{len(lines)}|{major(total_of(lines))}"]
    for each in lines:
        at = each.occurred_at.astimezone(CHINA)
        rows.append(
            f"{at:%Y%m%d}|{each.serial}|{each.bill_number}|{major(each.amount_minor)}|{each.kind}"
            f"|{at.isoformat(timespec='seconds')}"
        )
    return "\n".join(rows) + "\n"


def total_of(lines: Iterable[DayFileLine]) -> int:
    """Return the sum of applies less unapplies, in minor units."""
    return sum(each.amount_minor * (1 if each.kind == "apply" else -1) for each in lines)


def _line(number: int, row: str, currency: str, minor: Callable[[str], int]) -> DayFileLine:
    try:
        day, serial, bill_number, amount, kind, at = row.split("|")
        occurred_at, amount_minor = moment(at), minor(amount)
        if (
            day != f"{occurred_at.astimezone(CHINA):%Y%m%d}"
            or not 0 < amount_minor <= LARGEST_MINOR
        ):
            raise ValueError("the date is another than the time's, or the amount is none")
        return DayFileLine(
            text(serial), text(bill_number), amount_minor, currency, _KINDS[kind], occurred_at
        )
    except (ValueError, KeyError) as error:
        raise DayFileError(f"line {number}: date|serial|bill|amount|kind|time expected") from error
