"""Receipt numbers: 20261123-7K2M-9QXA-B0CD-4TFW.

The day of issue, 15 characters derived from the payment's id that cannot be guessed, and a check character. Printed in
groups, stored without hyphens. The alphabet is Crockford's base 32: without I, L, O and U, so no letter looks like 0 or
1.
"""

from datetime import date, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from hashlib import blake2s
from itertools import product
from struct import Struct
from uuid import UUID

from chassis import china

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
LENGTH = 24
_VALUES = {character: value for value, character in enumerate(ALPHABET)}
# Characters that people type for similar ones (Crockford), and separators between groups.
_TYPED = str.maketrans("OIL", "011", " -‐‑–—\u3000")

_OFFSET_SECONDS = int(china.OFFSET.total_seconds())
_EPOCH = date(1970, 1, 1)


class Typo(StrEnum):
    """The reason why a text cannot be a receipt number."""

    SHAPE = "shape"  # not 8 digits and 16 letters or digits
    CHECK = "check"  # the check character does not match: a typing error


def number_of(payment_id: UUID, issued_at: datetime) -> str:
    """Return the number of this payment's receipt, without hyphens. The same payment and day give the same number.

    The 75 bits are a hash of the whole id, because a channel may create its ids in a way that repeats some of their
    bits. With 60 bits (12 characters) two receipts would collide every 16 months at 66 million receipts a day; with
    75 bits in thousands of years.
    """
    day, state = _day((int(issued_at.timestamp()) + _OFFSET_SECONDS) // 86_400)
    a, b, c, d, e = _FIVE_SHORTS(blake2s(payment_id.int.to_bytes(16), digest_size=10).digest())
    state = _TIMES_8[state] ^ _REMAINDER[a]
    state = _TIMES_8[state] ^ _REMAINDER[b]
    state = _TIMES_8[state] ^ _REMAINDER[c]
    state = _TIMES_8[state] ^ _REMAINDER[d]
    state = _TIMES_8[state] ^ _REMAINDER[e]
    return (
        f"{day}{_THREE[a]}{_THREE[b]}{_THREE[c]}{_THREE[d]}{_THREE[e]}{ALPHABET[_TIMES_2[state]]}"
    )


def read(typed: str) -> str | Typo:
    """Return a typed number in its stored form, or the reason why it is not a number."""
    number = typed.upper().translate(_TYPED)
    if len(number) != LENGTH or not number.isascii() or not number[:8].isdigit():
        return Typo.SHAPE
    state = 0
    for character in number:
        value = _VALUES.get(character)
        if value is None:
            return Typo.SHAPE
        state = _TIMES_2[state] ^ value
    return Typo.CHECK if state else number


def grouped(number: str) -> str:
    """Return the number in groups, as it is printed and read aloud."""
    return "-".join((number[:8], number[8:12], number[12:16], number[16:20], number[20:]))


# The check character. Every character is an element of the field of 32 elements, weighted by a power of the field's
# generator; the weighted sum of all 24 is zero. So any single wrong character and any two swapped characters
# (adjacent or not) are found, and the check character is one of the same 32. ISO 7064 has no such system: MOD 37,36
# misses some adjacent swaps, and MOD 37,2 needs a 37th character, `*`.


def _double(element: int) -> int:
    # Multiply by the generator, 2, modulo the polynomial x^5 + x^2 + 1.
    return element << 1 if element < 16 else (element << 1) ^ 0b100101


_TIMES_2 = bytes(_double(element) for element in range(32))
_TIMES_4 = bytes(_double(element) for element in _TIMES_2)
_TIMES_8 = bytes(_double(element) for element in _TIMES_4)
# Three characters at a time: their text, and their part of the sum. Three characters have 15 bits; the tables are
# doubled, so that the 16th bit of a short needs no masking.
_THREE = ["".join(three) for three in product(ALPHABET, repeat=3)] * 2
_REMAINDER = bytes(x ^ y ^ z for x, y, z in product(_TIMES_4, _TIMES_2, range(32))) * 2
_FIVE_SHORTS = Struct(">5H").unpack


@lru_cache(maxsize=64)
def _day(days: int) -> tuple[str, int]:
    # The day's text and its part of the sum.
    text = f"{_EPOCH + timedelta(days=days):%Y%m%d}"
    state = 0
    for character in text:
        state = _TIMES_2[state] ^ _VALUES[character]
    return text, state
