"""The topics in Kafka: create what is missing, report what differs from the contract, tell the lag.

kafka-python's admin client does it: an implementation that is independent of the one that produces and consumes.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from kafka import KafkaAdminClient, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec
from kafka.errors import CoordinatorLoadInProgressError, CoordinatorNotAvailableError

from events.topics import ALL_TOPICS, DEAD_LETTERS, Topic

# The outbox takes messages up to about this size, so a topic that takes less could stop the relay.
LARGEST_MESSAGE_BYTES = 1_048_588


@dataclass(frozen=True, slots=True)
class Drift:
    """What of a topic is not as the contract says. A partition count is never changed: it would break the order."""

    topic: str
    what: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Provisioned:
    """What `provision` did and found."""

    created: Sequence[str]
    drifts: Sequence[Drift]


@dataclass(frozen=True, slots=True)
class Lag:
    """How far a group is behind in one partition. `committed` is None when it has never committed there."""

    group: str
    topic: str
    partition: int
    committed: int | None
    start: int
    end: int

    @property
    def records(self) -> int:
        return self.end - max(self.committed or 0, self.start)


def provision(
    bootstrap: str, topics: Sequence[Topic] = ALL_TOPICS, replication_factor: int = -1
) -> Provisioned:
    """Create the topics that are missing and compare the others with the contract; changes nothing that exists.

    `replication_factor` -1 is the broker's default: 1 on a laptop, to be 3 (with min.insync.replicas 2) in production.
    """
    with admin(bootstrap) as client:
        existing = set(client.list_topics())
        missing = [topic for topic in topics if topic.name not in existing]
        if missing:
            client.create_topics(
                {
                    topic.name: {
                        "num_partitions": topic.partitions,
                        "replication_factor": replication_factor,
                        "configs": _configs(topic),
                    }
                    for topic in missing
                },
                wait_for_metadata=True,
            )
        present = [topic for topic in topics if topic.name in existing]
        return Provisioned([topic.name for topic in missing], list(_drifts(client, present)))


def drifts(bootstrap: str, topics: Sequence[Topic] = ALL_TOPICS) -> list[Drift]:
    """Where Kafka differs from the contract, missing topics included."""
    with admin(bootstrap) as client:
        existing = set(client.list_topics())
        found = [
            Drift(t.name, "topic", "present", "missing") for t in topics if t.name not in existing
        ]
        return found + list(_drifts(client, [t for t in topics if t.name in existing]))


def lag(bootstrap: str) -> list[Lag]:
    """The lag of every group of the contract, per partition, in the contract's order."""
    with admin(bootstrap) as client:
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


@contextmanager
def admin(bootstrap: str) -> Iterator[KafkaAdminClient]:
    """kafka-python's admin client, closed afterwards."""
    client = KafkaAdminClient(
        bootstrap_servers=bootstrap, client_id="meterhall-admin", bootstrap_timeout_ms=5000
    )
    try:
        yield client
    finally:
        client.close()


def _configs(topic: Topic) -> dict[str, str]:
    return {
        "retention.ms": str(topic.retention_ms),
        "cleanup.policy": "delete",
        "max.message.bytes": str(LARGEST_MESSAGE_BYTES),
    }


def _drifts(client: KafkaAdminClient, topics: Sequence[Topic]) -> Iterator[Drift]:
    if not topics:
        return
    names = [topic.name for topic in topics]
    described = {each["name"]: len(each["partitions"]) for each in client.describe_topics(names)}
    configured = client.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in names], config_filter="all"
    )["topic"]
    for topic in topics:
        if described[topic.name] != topic.partitions:
            yield Drift(topic.name, "partitions", str(topic.partitions), str(described[topic.name]))
        for name, expected in _configs(topic).items():
            actual = configured[topic.name][name]["value"]
            if actual != expected:
                yield Drift(topic.name, name, expected, actual)


def _committed(client: KafkaAdminClient, group: str) -> dict[TopicPartition, int]:
    for wait_seconds in (0.2, 0.5, 1.0, 2.0, None):
        try:
            found = client.list_group_offsets([group])[group]
            break
        except (CoordinatorNotAvailableError, CoordinatorLoadInProgressError):
            # A fresh broker makes its offsets topic when it is first asked.
            if wait_seconds is None:
                raise
            time.sleep(wait_seconds)
    return {at: each.offset for at, each in found.items() if each.offset >= 0}
