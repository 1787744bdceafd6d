"""Kafka in: what happened to payments, top-ups and receipts, a batch at a time, each batch one statement."""

from collections.abc import Sequence

from faststream.kafka import KafkaBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from events.topics import NOTIFICATIONS_GROUP, PAYMENT_EVENTS, RECEIPT_EVENTS
from messaging.consumer import Message, Rejected
from messaging.consumer.broker import subscribe
from services.notifications.tell import DoesNotFitError, tell, told_of


def register(broker: KafkaBroker, engine: AsyncEngine) -> None:
    """Have the broker hand the events to `take`."""

    async def handle(messages: Sequence[Message]) -> Sequence[Rejected]:
        return await take(engine, messages)

    for topic in (PAYMENT_EVENTS, RECEIPT_EVENTS):
        subscribe(broker, topic, NOTIFICATIONS_GROUP, handle, engine)


async def take(engine: AsyncEngine, messages: Sequence[Message]) -> list[Rejected]:
    """Plan the deliveries of a batch; the messages that can't be stored, which are rejected and touch no other."""
    told, rejected = [], []
    for message in messages:
        try:
            told.append(told_of(message))
        except DoesNotFitError as error:
            rejected.append(Rejected(message, "does_not_fit", str(error)))
    async with engine.begin() as connection:
        await tell(connection, told)
    return rejected
