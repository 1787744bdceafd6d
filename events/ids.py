"""Ids: UUIDv7 (RFC 9562 §5.7), so that rows written together lie together in an index."""

import os
import time
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_RANDOM = (1 << 62) - 1 | (((1 << 12) - 1) << 64)


def uuid7() -> UUID:
    """A new UUIDv7: 48 bits of Unix milliseconds and 74 random bits."""
    return UUID(int=_new())


def uuid7_bytes() -> bytes:
    """The 16 bytes of one, for whoever has a UUID type of its own."""
    return _new().to_bytes(16, "big")


def milliseconds_of(id: UUID) -> int:
    """The Unix milliseconds at which a UUIDv7 was made."""
    return id.int >> 80


def _new() -> int:
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(_draw(), "big")
    return (milliseconds << 80) | (random_bits & _RANDOM) | _VERSION_AND_VARIANT


def _draw() -> bytes:
    # The system is asked for a thousand ids at once: to ask costs more than all the rest of an id.
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            block = os.urandom(10_000)
            _drawn.extend(block[at : at + 10] for at in range(0, len(block), 10))


_drawn: list[bytes] = []
# A forked process must not make the ids of its parent once more.
os.register_at_fork(after_in_child=_drawn.clear)
