"""Kafka in: batches of records for a handler. Handlers must be idempotent, because a record may come more than once.

Handlers import from here. Process files connect them to Kafka with broker.py, the only file that knows FastStream.
"""

from messaging.consumer.burial import Buried, Dead, uuid_in
from messaging.consumer.handler import Handler, Message, Rejected

__all__ = ["Buried", "Dead", "Handler", "Message", "Rejected", "uuid_in"]
