"""A cache of aggregates that this process has written and that wait for a place: their first claim need not read them.

An aggregate whose errand was never claimed has not changed since it was written.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar
from uuid import UUID

from errands.model import Errand
from errands.runner import HasErrand

# Aggregates that do not fit are read from the table when they are claimed.
MOST_UNCLAIMED = 10_000

ItemT = TypeVar("ItemT", bound=HasErrand)


class UnclaimedCache(Generic[ItemT]):
    """Aggregates that wait for a place, each with the errand that was written."""

    def __init__(self) -> None:
        self._items: dict[UUID, ItemT] = {}

    def add(self, waiting: Sequence[ItemT]) -> None:
        """Add aggregates that wait for a place."""
        self._items.update((each.errand.subject, each) for each in waiting)
        while len(self._items) > MOST_UNCLAIMED:
            # Drop the oldest: another process has claimed it, or soon will.
            del self._items[next(iter(self._items))]

    def pop(self, claimed: Sequence[Errand]) -> tuple[list[tuple[ItemT, Errand]], list[Errand]]:
        """Remove the aggregates of these errands; return (aggregate, errand) for those found, and the other errands."""
        cached: list[tuple[ItemT, Errand]] = []
        others: list[Errand] = []
        for errand in claimed:
            item = self._items.pop(errand.subject, None)
            is_first_claim = errand.fence == 1 and not errand.contested
            if item is not None and is_first_claim and item.errand.leg == errand.leg:
                cached.append((item, errand))
            else:
                others.append(errand)
        return cached, others
