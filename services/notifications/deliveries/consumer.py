"""Plan the deliveries of a batch of events about payments, top-ups and receipts, in one SQL statement."""

from collections.abc import Callable, Sequence

from sqlalchemy.ext.asyncio import AsyncEngine

from events.message import Event
from messaging.consumer import Message, Rejected
from services.notifications.deliveries.plan import DoesNotFitError, plan, planned_event


async def plan_batch(
    engine: AsyncEngine, by_mail: Callable[[Event], bool], messages: Sequence[Message]
) -> list[Rejected]:
    """Plan the deliveries of a batch; return the messages that cannot be stored, which do not affect the others.

    `by_mail` is True for events about which the payer gets a mail.
    """
    planned, rejected = [], []
    for message in messages:
        try:
            planned.append(planned_event(message, by_mail=by_mail(message.event)))
        except DoesNotFitError as error:
            rejected.append(Rejected(message, "does_not_fit", str(error)))
    async with engine.begin() as connection:
        await plan(connection, planned)
    return rejected
