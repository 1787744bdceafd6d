"""Kafka in a soak: the ends of its topics, and the deletion of records that are no longer needed.

Commands that workers have committed and events that were counted are deleted during the run, through kafka-python's
admin client: by offset and not by age, so that a waiting command is never lost, however long it waits.
"""

from collections.abc import Iterable, Sequence

from kafka import TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from benchmarks.soak.sizes import SEGMENT_BYTES
from events.topics import PAYMENT_COMMANDS, PAYMENT_EVENTS, PAYMENT_GROUP, RECEIPT_EVENTS, Topic
from messaging.control import admin_client, measure_lag

TOPICS = (PAYMENT_COMMANDS, PAYMENT_EVENTS, RECEIPT_EVENTS)
# The broker looks for segments to delete every 30 seconds instead of every five minutes.
PROPERTIES = "log.retention.check.interval.ms=30000\n"
_CONFIGS = {"segment.bytes": str(SEGMENT_BYTES), "file.delete.delay.ms": "1000"}

Ends = dict[TopicPartition, int]


def configure_segments(bootstrap: str) -> None:
    """Set small segments, so that deleted records leave the disk soon."""
    with admin_client(bootstrap) as client:
        client.alter_configs(
            [
                ConfigResource(ConfigResourceType.TOPIC, topic.name, configs=_CONFIGS)
                for topic in TOPICS
            ]
        )


def ends(bootstrap: str, topics: Iterable[Topic] = TOPICS) -> Ends:
    """Return the end offset of each partition."""
    wanted = {
        TopicPartition(topic.name, n): OffsetSpec.LATEST
        for topic in topics
        for n in range(topic.partitions)
    }
    with admin_client(bootstrap) as client:
        return {
            partition: end.offset
            for partition, end in client.list_partition_offsets(wanted).items()
        }


def records(now: Ends, topic: Topic, since: Ends) -> int:
    """Count the records that a topic got between two readings of the ends."""
    return sum(end - since[at] for at, end in now.items() if at.topic == topic.name)


def commands_waiting(bootstrap: str) -> int:
    """Count the commands that no worker has committed."""
    return sum(each.records for each in measure_lag(bootstrap) if each.group == PAYMENT_GROUP)


def trim(bootstrap: str, counted: Ends) -> None:
    """Delete the events that were counted, and the commands that workers have committed."""
    upto = {at: end for at, end in counted.items() if at.topic != PAYMENT_COMMANDS.name}
    upto |= {
        TopicPartition(each.topic, each.partition): each.committed
        for each in measure_lag(bootstrap)
        if each.topic == PAYMENT_COMMANDS.name and each.committed
    }
    with admin_client(bootstrap) as client:
        client.delete_records({at: end for at, end in upto.items() if end > 0})


def partitions(topic: Topic, count: int) -> Sequence[tuple[str, int]]:
    """Return the first partitions of a topic: keys are spread at random, so these are a sample of all."""
    return [(topic.name, n) for n in range(min(count, topic.partitions))]
