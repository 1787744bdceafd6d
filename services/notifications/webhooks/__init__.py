"""Webhooks: the event, unchanged and signed, to the channel's endpoint."""

from services.notifications.webhooks.post import WebhookOutlet
from services.notifications.webhooks.sign import HEADER, sign

__all__ = ["HEADER", "WebhookOutlet", "sign"]
