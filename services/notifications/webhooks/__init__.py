"""Webhooks: the event as it is, signed, to the channel's endpoint."""

from services.notifications.webhooks.post import WebhookOutlet
from services.notifications.webhooks.sign import HEADER, sign

__all__ = ["HEADER", "WebhookOutlet", "sign"]
