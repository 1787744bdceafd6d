"""The table of notified events and their recipients, from which the worker's consumers are registered.

The channel's endpoint gets a webhook for every event. The payer gets one mail per outcome, not one per event, because
an inbox should keep what matters later: of the events that report the same outcome, only one is sent by mail.
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
    """An event type. Each event becomes a webhook, and a mail to the payer as well if `by_mail(event)` is true."""

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
    Notified(PaymentActionRequired, _never),  # the wallet app prompts the payer on its screen
    Notified(PaymentSucceeded, _never),  # the receipt's mail reports it
    Notified(PaymentFailed, _always),
    Notified(PaymentReversed, _never),  # the mail about the voided receipt reports it
    Notified(PaymentRefunded, _always),
    Notified(RefundFailed, _never),
    Notified(WalletToppedUp, _never),  # the payer sees a top-up's outcome on the screen
    Notified(TopUpActionRequired, _never),
    Notified(TopUpFailed, _never),
    Notified(ReceiptIssued, _always),
    Notified(ReceiptVoided, _unless_refunded),  # the refund's mail reports it
)
_BY_MAIL = {notified.event: notified.by_mail for notified in NOTIFIED}


def consume_events(broker: KafkaBroker, engine: AsyncEngine) -> None:
    """Subscribe the handler to every topic that carries an event of the table."""
    for topic in dict.fromkeys(notified.event.topic for notified in NOTIFIED):
        subscribe(broker, topic, NOTIFICATIONS_GROUP, handler(engine), engine)


def handler(engine: AsyncEngine) -> Handler:
    """Return the handler of batches; a batch is one SQL statement, even with events of several types."""
    return partial(consumer.plan_batch, engine, gets_mail)


def gets_mail(event: Event) -> bool:
    """Return True when the payer gets a mail about this event (if the payer has an address)."""
    return _BY_MAIL[type(event)](event)
