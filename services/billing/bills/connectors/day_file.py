"""Day files (日终对账): a header with count and total, then a line per apply or unapply, separated by `|`.

    2|13500
    20261123|<serial>|<bill number>|8850|apply|2026-11-23T09:30:00+08:00
    20261123|<serial>|<bill number>|4650|unapply|2026-11-23T10:00:00+08:00

The total counts applies less unapplies. A file whose header does not agree with its lines is refused as a whole.
"""

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

from services.billing.bills.connectors.protocol import DayFileError, DayFileLine


def parse(
    content: bytes,
    currency: str,
    encoding: str = "utf-8",
    minor: Callable[[str], int] = int,
) -> list[DayFileLine]:
    """Read a day file; `minor` reads an amount as the dialect writes it. Raises DayFileError with the line's number."""
    try:
        rows = content.decode(encoding).splitlines()
    except UnicodeDecodeError as error:
        raise DayFileError(f"not {encoding}: byte {error.start}") from error
    if not rows:
        raise DayFileError("the file is empty; a day without payments still has its header")
    try:
        count, total = rows[0].split("|")
        expected = int(count), minor(total)
    except ValueError as error:
        raise DayFileError("line 1: count|total expected") from error
    lines = [_line(number, row, currency, minor) for number, row in enumerate(rows[1:], 2) if row]
    found = len(lines), total_of(lines)
    if found != expected:
        raise DayFileError(
            f"the header says {expected[0]} lines and {expected[1]}, found {found[0]} and {found[1]}"
        )
    return lines


def write(lines: Sequence[DayFileLine], major: Callable[[int], str] = str) -> str:
    """The file that says these lines."""
    rows = [f"{len(lines)}|{major(total_of(lines))}"]
    for each in lines:
        day = each.occurred_at.strftime("%Y%m%d")
        at = each.occurred_at.isoformat(timespec="seconds")
        rows.append(
            f"{day}|{each.serial}|{each.bill_number}|{major(each.amount_minor)}|{each.kind}|{at}"
        )
    return "\n".join(rows) + "\n"


def total_of(lines: Iterable[DayFileLine]) -> int:
    """Applies less unapplies, in minor units."""
    return sum(each.amount_minor * (1 if each.kind == "apply" else -1) for each in lines)


def _line(number: int, row: str, currency: str, minor: Callable[[str], int]) -> DayFileLine:
    try:
        _, serial, bill_number, amount, kind, at = row.split("|")
        occurred_at = datetime.fromisoformat(at)
        if kind not in {"apply", "unapply"} or occurred_at.tzinfo is None:
            raise ValueError(kind)
        return DayFileLine(
            serial,
            bill_number,
            minor(amount),
            currency,
            "apply" if kind == "apply" else "unapply",
            occurred_at,
        )
    except ValueError as error:
        raise DayFileError(f"line {number}: date|serial|bill|amount|kind|time expected") from error
