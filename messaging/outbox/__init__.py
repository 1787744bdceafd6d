"""The outbox: messages written in the transaction that they describe, published to Kafka afterwards by the relay."""

from messaging.outbox.cursor import OUTBOX_LOCK, UNPUBLISHED
from messaging.outbox.outgoing import TYPE_PREFIX, Outgoing, enqueue, new_id, stored_type
from messaging.outbox.partitions import RETENTION_DAYS, drop_old_partitions, ensure_partitions
from messaging.outbox.raw import pack_raw, unpack_raw
from messaging.outbox.tables import LONGEST_KEY, MESSAGES, outbox_tables

__all__ = [
    "LONGEST_KEY",
    "MESSAGES",
    "OUTBOX_LOCK",
    "RETENTION_DAYS",
    "TYPE_PREFIX",
    "UNPUBLISHED",
    "Outgoing",
    "drop_old_partitions",
    "enqueue",
    "ensure_partitions",
    "new_id",
    "outbox_tables",
    "pack_raw",
    "stored_type",
    "unpack_raw",
]
