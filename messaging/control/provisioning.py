"""The topics in Kafka: create what is missing, and report what differs from the contract."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType

from events.topics import ALL_TOPICS, Topic
from messaging.control.admin import admin_client

# The outbox takes messages up to about this size, so a topic that takes less could stop the relay.
LARGEST_MESSAGE_BYTES = 1_048_588


@dataclass(frozen=True, slots=True)
class Drift:
    """A difference between a topic and the contract. A partition count is never changed: that would break the order."""

    topic: str
    what: str
    expected: str
    actual: str


@dataclass(frozen=True, slots=True)
class Provisioned:
    """The topics that `provision` created, and the differences that it found."""

    created: Sequence[str]
    drifts: Sequence[Drift]


def provision(
    bootstrap: str, topics: Sequence[Topic] = ALL_TOPICS, replication_factor: int = -1
) -> Provisioned:
    """Create missing topics and compare the others with the contract. Existing topics are not changed.

    `replication_factor` -1 is the broker's default: 1 on a laptop, to be 3 (with min.insync.replicas 2) in production.
    """
    with admin_client(bootstrap) as client:
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
    """Return the differences between Kafka and the contract, missing topics included."""
    with admin_client(bootstrap) as client:
        existing = set(client.list_topics())
        missing = [
            Drift(t.name, "topic", "present", "missing") for t in topics if t.name not in existing
        ]
        return missing + list(_drifts(client, [t for t in topics if t.name in existing]))


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
