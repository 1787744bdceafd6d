"""The topics: names, partition counts and consumer groups. All of it is contract.

The partition count is fixed at creation: changing it would send a key's later events to another partition and so break
their order. `code` is a topic's name inside the outbox, where every byte counts; a code is never reused.
"""

from dataclasses import dataclass

DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Topic:
    """A Kafka topic. `key` says what the record key is; `source` is the CloudEvents source."""

    code: int
    name: str
    partitions: int
    key: str
    source: str
    retention_ms: int = 7 * DAY_MS


LOOKUP_COMMANDS = Topic(1, "billing.bill-lookup.commands.v1", 12, "lookup_id", "meterhall/billing")
LOOKUP_EVENTS = Topic(2, "billing.bill-lookup.events.v1", 12, "lookup_id", "meterhall/billing")
PAYMENT_COMMANDS = Topic(3, "billing.payment.commands.v1", 12, "payment_id", "meterhall/billing")
PAYMENT_EVENTS = Topic(4, "billing.payment.events.v1", 12, "payment_id", "meterhall/billing")
RECEIPT_EVENTS = Topic(5, "billing.receipt.events.v1", 12, "payment_id", "meterhall/billing")
DELIVERY_EVENTS = Topic(
    6, "notifications.delivery.events.v1", 6, "delivery_id", "meterhall/notifications"
)

# Topics that channels write; each record on them is signed (events/signature.py).
COMMAND_TOPICS = (LOOKUP_COMMANDS, PAYMENT_COMMANDS)

# Consumer groups, and the topics that each reads.
LOOKUP_GROUP = "billing-bill-lookup"
PAYMENT_GROUP = "billing-payment"
NOTIFICATIONS_GROUP = "notifications"


def _dead_letters(code: int, topic: Topic, group: str) -> Topic:
    # Dead letters wait for a person, so they are kept for 30 days; order does not matter among them.
    return Topic(code, f"{topic.name}.{group}.dlq", 1, topic.key, topic.source, 30 * DAY_MS)


DEAD_LETTERS: dict[tuple[str, str], Topic] = {
    (topic.name, group): _dead_letters(code, topic, group)
    for code, topic, group in (
        (101, LOOKUP_COMMANDS, LOOKUP_GROUP),
        (102, PAYMENT_COMMANDS, PAYMENT_GROUP),
        (103, PAYMENT_EVENTS, NOTIFICATIONS_GROUP),
        (104, RECEIPT_EVENTS, NOTIFICATIONS_GROUP),
    )
}

TOPICS: tuple[Topic, ...] = (
    LOOKUP_COMMANDS,
    LOOKUP_EVENTS,
    PAYMENT_COMMANDS,
    PAYMENT_EVENTS,
    RECEIPT_EVENTS,
    DELIVERY_EVENTS,
)
ALL_TOPICS: tuple[Topic, ...] = TOPICS + tuple(DEAD_LETTERS.values())
BY_CODE: dict[int, Topic] = {topic.code: topic for topic in ALL_TOPICS}
