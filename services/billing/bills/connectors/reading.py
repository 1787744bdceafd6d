"""Strict parsers for single values of a biller's response: they raise ValueError or TypeError."""

import re
from datetime import datetime

# Names that a biller chooses: bills, periods, references, codes.
LONGEST_TEXT = 64


def text(value: object, longest: int = LONGEST_TEXT) -> str:
    """Parse a short printable string; PostgreSQL stores no NUL."""
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    if not 0 < len(value) <= longest or not value.isprintable():
        raise ValueError(f"1 to {longest} printable characters are expected")
    return value


def integer(value: object) -> int:
    """Parse a JSON integer; True and 1.0 are not integers."""
    if type(value) is not int:
        raise TypeError("an integer is expected")
    return value


def moment(value: object) -> datetime:
    """Parse an ISO 8601 time with its offset, in this century; other times could not be stored."""
    if not isinstance(value, str):
        raise TypeError("a time is expected")
    at = datetime.fromisoformat(value)
    if at.tzinfo is None or not 2000 <= at.year < 2200:
        raise ValueError("a time with its offset is expected")
    return at


def code(value: object) -> str:
    """Return a refusal's code as it is stored: short, lower case, words joined by `_`."""
    return re.sub(r"[^a-z0-9]+", "_", text(value).lower()).strip("_") or "refused"
