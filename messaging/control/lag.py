"""The lag of consumer groups, from the offsets that they have committed."""

import time
from dataclasses import dataclass

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import OffsetSpec
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError

from events.topics import DEAD_LETTERS
from messaging.control.admin import admin_client


@dataclass(frozen=True, slots=True)
class Lag:
    """The lag of a group in one partition. `committed` is None when the group has never committed there."""

    group: str
    topic: str
    partition: int
    committed: int | None
    start: int
    end: int

    @property
    def records(self) -> int:
        return self.end - max(self.committed or 0, self.start)


def measure_lag(bootstrap: str) -> list[Lag]:
    """Return the lag of every group of the contract, per partition, in the contract's order."""
    with admin_client(bootstrap) as client:
        existing = set(client.list_topics())
        read = [(topic, group) for topic, group in DEAD_LETTERS if topic in existing]
        partitions = {
            topic["name"]: [each["partition_index"] for each in topic["partitions"]]
            for topic in client.describe_topics([topic for topic, _ in read])
        }
        every = [
            TopicPartition(topic, number) for topic in partitions for number in partitions[topic]
        ]
        starts = client.list_partition_offsets(dict.fromkeys(every, OffsetSpec.EARLIEST))
        ends = client.list_partition_offsets(dict.fromkeys(every, OffsetSpec.LATEST))
        committed = {group: _committed(client, group) for _, group in read}
    return [
        Lag(
            group,
            topic,
            at.partition,
            committed[group].get(at),
            starts[at].offset,
            ends[at].offset,
        )
        for topic, group in read
        for at in sorted(at for at in every if at.topic == topic)
    ]


def _committed(client: KafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    for wait_seconds in (0.2, 0.5, 1.0, 2.0, None):
        try:
            offsets = client.list_group_offsets([group])[group]
            break
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError):
            # A new broker creates its offsets topic at the first request for offsets.
            if wait_seconds is None:
                raise
            time.sleep(wait_seconds)
    return {at: each.offset for at, each in offsets.items() if each.offset >= 0}
