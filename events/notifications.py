"""Events of notifications: one for each delivery that ended.

A delivery that failed and was sent again by an operator ends again; `sequence` in the envelope counts its ends.
"""

from typing import Literal
from uuid import UUID

from events.message import Event
from events.payments import ChannelId, Reason
from events.topics import DELIVERY_EVENTS


class _DeliveryEvent(Event):
    delivery_id: UUID
    event_id: UUID
    channel: ChannelId
    medium: Literal["mail", "webhook"]
    attempts: int


class NotificationDelivered(_DeliveryEvent):
    """The recipient's server accepted the message."""

    topic = DELIVERY_EVENTS
    key_field = "delivery_id"


class NotificationFailed(_DeliveryEvent):
    """The recipient's server refused the message for good, or the last attempt failed; `reason` says why."""

    topic = DELIVERY_EVENTS
    key_field = "delivery_id"

    reason: Reason
