"""Which events are told to whom: the one table from which the worker's consumers are registered.

The channel's endpoint gets a webhook of every event; the payer gets one mail per happening, in the inbox where it
matters later.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

from faststream.kafka import KafkaBroker
from sqlalchemy.ext.asyncio import AsyncEngine

from events.message import Event
from events.payments import (
    PaymentAccepted,
    PaymentActionRequired,
    PaymentFailed,
    PaymentRefunded,
    PaymentReversed,
    PaymentSucceeded,
    RefundFailed,
    TopUpActionRequired,
    TopUpFailed,
    WalletToppedUp,
)
from events.receipts import ReceiptIssued, ReceiptVoided
from events.topics import NOTIFICATIONS_GROUP
from messaging.consumer import Handler
from messaging.consumer.broker import subscribe
from services.notifications.deliveries import consumer


class Notified(NamedTuple):
    """Events of one type: each becomes a webhook, and if `by_mail` says so of it, a mail to the payer as well."""

    event: type[Event]
    by_mail: Callable[[Any], bool]


def _always(_: Event) -> bool:
    return True


def _never(_: Event) -> bool:
    return False


def _unless_refunded(event: ReceiptVoided) -> bool:
    return event.reason != "refunded"


NOTIFIED = (
    Notified(PaymentAccepted, _never),
    Notified(PaymentActionRequired, _never),  # the wallet app asks at the screen
    Notified(PaymentSucceeded, _never),  # the receipt's mail says it
    Notified(PaymentFailed, _always),
    Notified(PaymentReversed, _never),  # the mail about the receipt that is void says it
    Notified(PaymentRefunded, _always),
    Notified(RefundFailed, _never),
    Notified(WalletToppedUp, _never),  # seen at the screen, like what becomes of every top-up
    Notified(TopUpActionRequired, _never),
    Notified(TopUpFailed, _never),
    Notified(ReceiptIssued, _always),
    Notified(ReceiptVoided, _unless_refunded),  # the refund's mail says it
)
_BY_MAIL = {each.event: each.by_mail for each in NOTIFIED}


def consume_events(broker: KafkaBroker, engine: AsyncEngine) -> None:
    """Have the broker hand the events of this table to their handler, from every topic that has some of them."""
    for topic in dict.fromkeys(each.event.topic for each in NOTIFIED):
        subscribe(broker, topic, NOTIFICATIONS_GROUP, handler(engine), engine)


def handler(engine: AsyncEngine) -> Handler:
    """A handler of mixed batches: whatever the types are, a batch is one statement."""
    return partial(consumer.take, engine, gets_mail)


def gets_mail(event: Event) -> bool:
    """Return True when the payer gets a mail about this event (if the payer has an address)."""
    return _BY_MAIL[type(event)](event)
