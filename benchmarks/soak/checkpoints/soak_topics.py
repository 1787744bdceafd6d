"""Kafka in a soak: how far the topics are, and room for what comes.

What workers have committed and events that were counted are deleted while it runs, by kafka-python's admin client: by
offset and not by age, so that a command that still waits is never lost, however long it waits.
"""

from collections.abc import Iterable, Sequence

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from benchmarks.soak.sizes import SEGMENT_BYTES
from events.topics import PAYMENT_COMMANDS, PAYMENT_EVENTS, PAYMENT_GROUP, RECEIPT_EVENTS, Topic
from messaging.control import admin_client, measure_lag

TOPICS = (PAYMENT_COMMANDS, PAYMENT_EVENTS, RECEIPT_EVENTS)
# The broker looks for segments to delete this often; not every five minutes, as it would by itself.
PROPERTIES = "log.retention.check.interval.ms=30000\n"
_CONFIGS = {"segment.bytes": str(SEGMENT_BYTES), "file.delete.delay.ms": "1000"}

Ends = dict[TopicPartition, int]


def make_room(bootstrap: str) -> None:
    """Small segments, so that what was deleted leaves the disk soon."""
    with admin_client(bootstrap) as client:
        client.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=_CONFIGS)
                for topic in TOPICS
            ]
        )


def ends(bootstrap: str, topics: Iterable[Topic] = TOPICS) -> Ends:
    """Where each partition ends."""
    asked = {
        TopicPartition(topic.name, n): OffsetSpec.LATEST
        for topic in topics
        for n in range(topic.partitions)
    }
    with admin_client(bootstrap) as client:
        return {at: found.offset for at, found in client.list_partition_offsets(asked).items()}


def records(now: Ends, topic: Topic, since: Ends) -> int:
    """How many records a topic got between the two."""
    return sum(end - since[at] for at, end in now.items() if at.topic == topic.name)


def commands_waiting(bootstrap: str) -> int:
    """Commands that no worker has committed."""
    return sum(each.records for each in measure_lag(bootstrap) if each.group == PAYMENT_GROUP)


def trim(bootstrap: str, counted: Ends) -> None:
    """Delete events up to where they were counted, and commands up to where workers have committed them."""
    upto = {at: end for at, end in counted.items() if at.topic != PAYMENT_COMMANDS.name}
    upto |= {
        TopicPartition(each.topic, each.partition): each.committed
        for each in measure_lag(bootstrap)
        if each.topic == PAYMENT_COMMANDS.name and each.committed
    }
    with admin_client(bootstrap) as client:
        client.delete_records({at: end for at, end in upto.items() if end > 0})


def partitions(topic: Topic, count: int) -> Sequence[tuple[str, int]]:
    """The first partitions of a topic: keys are spread at random, so some of them tell of all."""
    return [(topic.name, n) for n in range(min(count, topic.partitions))]
