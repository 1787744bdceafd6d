"""An errand in a process's hand, as a plain value; the table is in tables.py."""

from datetime import UTC, datetime
from typing import NamedTuple
from uuid import UUID

# An errand's identity: the kind of its aggregate, and the aggregate's id.
Key = tuple[str, UUID]


class Errand(NamedTuple):
    """One errand, claimed at `claimed_at` by the database's clock; the columns are explained in tables.py.

    A tuple: the hot path makes thousands.
    """

    kind: str
    subject: UUID
    institution: str
    leg: str
    claimed_at: datetime
    fence: int = 0
    contested: bool = False
    tries: int = 0
    attempt: int = 1
    unknown_since: datetime | None = None
    sent_at: datetime | None = None

    @property
    def key(self) -> Key:
        """Its identity."""
        return self.kind, self.subject

    @property
    def unknown_leg(self) -> str | None:
        """The leg whose call had no answer, or None."""
        return self.leg if self.unknown_since else None


# For an aggregate that needs no external call.
NO_ERRAND = Errand("", UUID(int=0), "", "", datetime.min.replace(tzinfo=UTC))
