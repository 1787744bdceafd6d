"""Ids: UUIDv7 (RFC 9562 §5.7), so that rows written together are neighbours in an index; and ids derived from others.

A derived id is a UUIDv8 (§5.8), a version that callers may not use for ids of their own, so no caller can choose an id
that we derive.
"""

import os
import time
from hashlib import sha256
from uuid import UUID

_VERSION_AND_VARIANT = (0x7 << 76) | (0b10 << 62)
_VERSION_8 = (0x8 << 76) | (0b10 << 62)
_VERSION_AND_VARIANT_BITS = (0xF << 76) | (0b11 << 62)
_RANDOM = (1 << 62) - 1 | (((1 << 12) - 1) << 64)


def uuid7() -> UUID:
    """Return a new UUIDv7: 48 bits of Unix milliseconds and 74 random bits."""
    return UUID(int=_new())


def uuid7_bytes() -> bytes:
    """Return the 16 bytes of a new UUIDv7, for drivers with their own UUID type."""
    return _new().to_bytes(16, "big")


def derived_id(kind: str, id: object) -> UUID:
    """Return the id derived from a kind and an id of that kind: 122 bits of the SHA-256 of `kind:id`, as a UUIDv8.

    Migration 0010 computes the same in SQL, so this cannot change.
    """
    bits = int.from_bytes(sha256(f"{kind}:{id}".encode()).digest()[:16], "big")
    return UUID(int=bits & ~_VERSION_AND_VARIANT_BITS | _VERSION_8)


def is_derived(id: UUID) -> bool:
    """Return True when the id has the form of derived ids, which no caller may choose."""
    return id.int >> 76 & 0xF == 8


def milliseconds_of(id: UUID) -> int:
    """Return the Unix milliseconds at which a UUIDv7 was created."""
    return id.int >> 80


def _new() -> int:
    milliseconds = time.time_ns() // 1_000_000
    random_bits = int.from_bytes(_draw(), "big")
    return (milliseconds << 80) | (random_bits & _RANDOM) | _VERSION_AND_VARIANT


def _draw() -> bytes:
    # Random bytes for a thousand ids are read at once: the system call costs more than the rest of an id.
    while True:
        try:
            return _drawn.pop()
        except IndexError:
            block = os.urandom(10_000)
            _drawn.extend(block[at : at + 10] for at in range(0, len(block), 10))


_drawn: list[bytes] = []
# A forked process must not create the ids of its parent again.
os.register_at_fork(after_in_child=_drawn.clear)
