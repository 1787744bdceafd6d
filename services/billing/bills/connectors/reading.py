"""Single values of a biller's answer, read strictly: what is not meant so is a ValueError or a TypeError."""

import re
from datetime import datetime

# What a biller names: bills, periods, references, codes.
LONGEST_TEXT = 64


def text(value: object, longest: int = LONGEST_TEXT) -> str:
    """A short printable string; PostgreSQL takes no NUL, and nobody reads the rest."""
    if not isinstance(value, str):
        raise TypeError("a text is expected")
    if not 0 < len(value) <= longest or not value.isprintable():
        raise ValueError(f"1 to {longest} printable characters are expected")
    return value


def integer(value: object) -> int:
    """An integer that JSON meant as one; True and 1.0 are none."""
    if type(value) is not int:
        raise TypeError("an integer is expected")
    return value


def moment(value: object) -> datetime:
    """An ISO 8601 time with its offset, in our century: what no calendar of a biller holds can't be stored either."""
    if not isinstance(value, str):
        raise TypeError("a time is expected")
    at = datetime.fromisoformat(value)
    if at.tzinfo is None or not 2000 <= at.year < 2200:
        raise ValueError("a time with its offset is expected")
    return at


def code(value: object) -> str:
    """A refusal's code as we keep it: short, lower case, words joined by `_`."""
    return re.sub(r"[^a-z0-9]+", "_", text(value).lower()).strip("_") or "refused"
