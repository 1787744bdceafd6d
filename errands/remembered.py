"""Aggregates that this process has just written and found no place for, so that its first claim need not read them
again.

An aggregate that was never claimed has not changed.
"""

from collections.abc import Sequence
from typing import Generic, TypeVar
from uuid import UUID

from errands.model import Errand
from errands.runner import HasErrand

# More are read from the table.
MOST_REMEMBERED = 10_000

ItemT = TypeVar("ItemT", bound=HasErrand)


class Remembered(Generic[ItemT]):
    """Aggregates that wait for a place, each with the errand that was written."""

    def __init__(self) -> None:
        self._items: dict[UUID, ItemT] = {}

    def keep(self, waiting: Sequence[ItemT]) -> None:
        """Remember these."""
        self._items.update((each.errand.subject, each) for each in waiting)
        while len(self._items) > MOST_REMEMBERED:
            # Forget the oldest: another process has claimed it, or soon will.
            del self._items[next(iter(self._items))]

    def take(self, claimed: Sequence[Errand]) -> tuple[list[tuple[ItemT, Errand]], list[Errand]]:
        """Return the errands whose aggregates this process remembers, with these aggregates, and the other errands."""
        known: list[tuple[ItemT, Errand]] = []
        others: list[Errand] = []
        for each in claimed:
            item = self._items.pop(each.subject, None)
            first = each.fence == 1 and not each.contested
            if item is not None and first and item.errand.leg == each.leg:
                known.append((item, each))
            else:
                others.append(each)
        return known, others
