"""Subjects: what a call to the outside, a case or a webhook is about.

Channels choose the ids of payments, refunds and top-ups, and an id is unique within its kind only. So the PSP, cases
and recorded calls name a subject by its kind and its id.
"""

from enum import StrEnum
from typing import NamedTuple
from uuid import UUID


class Kind(StrEnum):
    """The kinds of subjects. The values stand in the PSP's keys and metadata, so they can't change."""

    PAYMENT = "payment"
    REFUND = "refund"
    TOP_UP = "top_up"

    @property
    def label(self) -> str:
        """The kind as people read it: top-up."""
        return self.replace("_", "-")


class Subject(NamedTuple):
    """One payment, refund or top-up."""

    kind: Kind
    id: UUID

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"
