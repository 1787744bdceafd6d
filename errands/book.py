"""Write the errands of new aggregates: those that get a place are run by this process at once, the others wait."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from errands.institutions import Booking
from errands.model import Errand
from errands.queue import NewErrand, add


class FirstLeg(NamedTuple):
    """The leg with which the errand of a new aggregate begins, and the institution that is called there."""

    subject: UUID
    institution: str
    leg: str


class Booked(NamedTuple):
    """The new errands by subject: those with a place that this process holds, and those without."""

    held: dict[UUID, Errand]
    waiting: dict[UUID, Errand]


async def book(
    connection: AsyncConnection, booking: Booking, kind: str, legs: Sequence[FirstLeg]
) -> Booked:
    """Write an errand for each first leg in the caller's transaction. An errand that exists already is left alone."""
    by_institution: dict[str, list[FirstLeg]] = defaultdict(list)
    for first in legs:
        by_institution[first.institution].append(first)
    new: list[NewErrand] = []
    for institution, firsts in by_institution.items():
        places = booking.hold(institution, len(firsts))
        for position, first in enumerate(firsts):
            lease = booking.lease_seconds if position < places else None
            new.append(NewErrand(kind, *first, lease))
    added = await add(connection, new)
    booked = Booked({}, {})
    for errand in new:
        added_at = added.get((kind, errand.subject))
        if added_at is not None:
            side = booked.held if errand.lease_seconds else booked.waiting
            side[errand.subject] = Errand(
                kind, errand.subject, errand.institution, errand.leg, added_at
            )
        elif errand.lease_seconds:
            booking.leave(errand.institution)
    return booked
