"""Write the errands of new aggregates: those that get a place are run by this process at once, the others wait."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

from errands.institutions import Booking
from errands.model import Errand
from errands.queue import NewErrand, add


class FirstCall(NamedTuple):
    """Who is asked first about a subject, and for what."""

    subject: UUID
    institution: str
    leg: str


class Booked(NamedTuple):
    """The errands that were written, by subject: with a place that this process holds, and without."""

    held: dict[UUID, Errand]
    waiting: dict[UUID, Errand]


async def book(
    connection: AsyncConnection, booking: Booking, kind: str, calls: Sequence[FirstCall]
) -> Booked:
    """Write an errand for each call in the caller's transaction. One that another process has written is left to it."""
    at: dict[str, list[FirstCall]] = defaultdict(list)
    for each in calls:
        at[each.institution].append(each)
    new: list[NewErrand] = []
    for institution, some in at.items():
        places = booking.hold(institution, len(some))
        for position, call in enumerate(some):
            lease = booking.lease_seconds if position < places else None
            new.append(NewErrand(kind, *call, lease))
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
