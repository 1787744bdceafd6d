"""Subjects: the payment, refund or top-up of an external call, a case or a webhook.

Channels choose the ids of payments, refunds and top-ups, and an id is unique within its kind only. So the PSP, cases
and recorded calls identify a subject by its kind and its id.
"""

from enum import IntEnum, StrEnum
from typing import NamedTuple
from uuid import UUID


class Kind(StrEnum):
    """The kinds of subjects. The values are in the PSP's keys and metadata, so they cannot change."""

    PAYMENT = "payment"
    REFUND = "refund"
    TOP_UP = "top_up"

    @property
    def label(self) -> str:
        """The kind in words: top-up."""
        return self.replace("_", "-")


class Subject(NamedTuple):
    """One payment, refund or top-up."""

    kind: Kind
    id: UUID

    def __str__(self) -> str:
        return f"{self.kind}:{self.id}"


class LineOrder(IntEnum):
    """The order of lines with the same time in a subject's history (history.py).

    The LINES that a room declares of its own tables are SELECTs of the columns at, place (one of these), what, text,
    amount_minor and currency. They may use two relations: `subjects (kind, id, of)` has the subject (`:kind`, `:id`)
    and its refunds, whose lines begin with `of`; `booked (id, of)` has the transfers of these.
    """

    PROMISED = 0
    BEGUN = 1  # accepted, and each step before the end
    CALLED = 2
    HELD = 3
    BOOKED = 4
    RECEIPT = 5
    ENDED = 6
    EVENT = 7
    CASE = 8
