"""The contract: everything that crosses Kafka. Imports nothing of ours.

A command is imperative (`PayBill`), an event is past tense (`PaymentSucceeded`). The models here are the source; the
JSON Schemas and the AsyncAPI document are generated from them and committed. Within a major version a change is
additive.
"""

from events import bills, notifications, payments, receipts
from events.message import EVENT_TYPES, Event

__all__ = ["EVENT_TYPES", "Event", "bills", "notifications", "payments", "receipts"]
