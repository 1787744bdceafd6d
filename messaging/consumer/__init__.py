"""Kafka in: batches of records for a handler, which must be idempotent, for a record may come more than once.

Handlers import from here. Process files connect them to Kafka with broker.py, which alone knows FastStream.
"""

from messaging.consumer.burial import Buried, Dead, uuid_in
from messaging.consumer.handler import Handler, Message, Rejected

__all__ = ["Buried", "Dead", "Handler", "Message", "Rejected", "uuid_in"]
