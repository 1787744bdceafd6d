"""What a handler of messages is given, and what it gives back."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from events.message import Event
from messaging.record import Record


class Message(NamedTuple):
    """A record that keeps the contract. `headers` has the last of each name."""

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
