"""The input and the output of a message handler."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from events.message import Event
from messaging.record import Record


class Message(NamedTuple):
    """A record that conforms to the contract. `headers` has the last header of each name."""

    record: Record
    id: UUID
    type: str
    event: Event
    traceparent: str | None
    correlation_id: str | None
    headers: Mapping[str, bytes | None]


@dataclass(frozen=True, slots=True)
class Rejected:
    """A message that the handler refuses for good. `reason` is a short code, `text` holds no personal data."""

    message: Message
    reason: str
    text: str


Handler = Callable[[Sequence[Message]], Awaitable[Sequence[Rejected]]]
