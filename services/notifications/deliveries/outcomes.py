"""The outcomes of an attempt to deliver, as types. `reason` is a short code without personal data."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.notifications.recipients.addresses import Address


@dataclass(frozen=True, slots=True)
class Delivered:
    """The recipient's server accepted it."""


@dataclass(frozen=True, slots=True)
class Later:
    """Refused for now, or the outcome is unknown: try again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Never:
    """Refused for good."""

    reason: str


Outcome = Delivered | Later | Never


@dataclass(frozen=True, slots=True)
class Delivery:
    """A claimed delivery. `attempts` includes this one; `lease` proves that it is still ours."""

    id: UUID
    lease: UUID
    event_id: UUID
    event_type: str
    medium: str
    channel: str
    body: bytes
    attempts: int
    created_at: datetime
    correlation_id: str | None
    traceparent: str | None
    address: Address


class Outlet(Protocol):
    """A medium. Its attempts are bounded in time; an error that it raises counts as Later."""

    async def send(self, delivery: Delivery) -> Outcome: ...
