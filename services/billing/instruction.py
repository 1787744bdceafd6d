"""A command from HTTP or Kafka, and the fingerprint of its content, which is everything but the id."""

import hashlib
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar
from uuid import UUID

from events.message import Event

CommandT = TypeVar("CommandT", bound=Event)


class Instruction(NamedTuple, Generic[CommandT]):
    """A command, with the ids that follow it through every event."""

    command: CommandT
    correlation_id: str | None = None
    traceparent: str | None = None


def fingerprint(*fields: object) -> bytes:
    """Return a hash of a command's content. A command that reuses an id with another fingerprint is refused."""
    # No field can contain a line feed, and 16 bytes are enough to detect a mistake.
    return hashlib.blake2b("\n".join(map(str, fields)).encode(), digest_size=16).digest()


def sort_out(
    ids: Sequence[UUID], fingerprints: Sequence[bytes], known: dict[UUID, bytes]
) -> tuple[list[int], list[int]]:
    """Return the positions of a batch that are new, and those that reuse an id; a repeated command is neither.

    `known` has the fingerprints of stored commands. It is extended, so that a batch is compared with itself as well.
    """
    fresh: list[int] = []
    reused: list[int] = []
    for position, (id, print) in enumerate(zip(ids, fingerprints, strict=True)):
        before = known.setdefault(id, print)
        if before is print:
            fresh.append(position)
        elif before != print:
            reused.append(position)
    return fresh, reused
