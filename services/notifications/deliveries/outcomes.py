"""What became of one attempt to deliver, as a type. `reason` is a short code without personal data."""

from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from uuid import UUID

from services.notifications.recipients.addresses import Address


@dataclass(frozen=True, slots=True)
class Delivered:
    """The recipient's server took it."""


@dataclass(frozen=True, slots=True)
class Later:
    """Not now, or nobody knows: try again."""

    reason: str


@dataclass(frozen=True, slots=True)
class Never:
    """Refused for good."""

    reason: str


Outcome = Delivered | Later | Never


@dataclass(frozen=True, slots=True)
class Delivery:
    """A delivery that we have claimed. `attempts` counts this one; `lease` proves that it is still ours."""

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
    """A way out. Bounded in time; whatever it raises counts as Later."""

    async def send(self, delivery: Delivery) -> Outcome: ...
