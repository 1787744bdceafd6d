"""Errors at which the relay must halt: it stops with the reason, and the cursor does not move."""

import asyncio
from collections.abc import Callable

import pytest
from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from sqlalchemy.ext.asyncio import AsyncEngine

from events.topics import BY_CODE, Topic
from messaging.outbox import enqueue
from messaging.relay import HaltedError, Relay
from tests.messaging.conftest import Lane
from tests.messaging.witness import (
    count_unpublished,
    enqueue_all,
    message,
    publish_all,
    read_all,
    sequences_by_key,
)


async def test_halts_at_an_unknown_topic(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    newer = Topic(8999, "of.tomorrow.v1", 3, "k", "meterhall/test")
    async with engine.begin() as connection:
        await enqueue(connection, [message(newer, "k", 1), message(lane.topic, "k", 1)])

    with pytest.raises(HaltedError, match="topic 8999"):
        await relays().run(asyncio.Event().wait())
    assert await count_unpublished(engine) == 2
    assert read_all(kafka, lane.topic.name) == []


async def test_halts_at_a_topic_with_another_number_of_partitions(
    engine: AsyncEngine,
    lane: Lane,
    relays: Callable[[], Relay],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    changed = Topic(lane.topic.code, lane.topic.name, 4, "name", "meterhall/test")
    monkeypatch.setitem(BY_CODE, changed.code, changed)
    await enqueue_all(engine, lane.topic, "k", 1)

    with pytest.raises(HaltedError, match="has 3 partitions, and the contract says 4"):
        await relays().run_once()
    assert await count_unpublished(engine) == 1


async def test_halts_when_kafka_refuses_a_message_and_goes_on_once_it_is_accepted(
    engine: AsyncEngine, lane: Lane, kafka: str, relays: Callable[[], Relay]
) -> None:
    configure(kafka, lane.topic, {"max.message.bytes": "5000"})
    async with engine.begin() as connection:
        await enqueue(
            connection,
            [message(lane.topic, "k", 1, b"x" * 9000), message(lane.topic, "k", 2)],
        )
    relay = relays()
    with pytest.raises(HaltedError, match="MessageSizeTooLarge"):
        await relay.run_once()
    await relay.close()
    assert await count_unpublished(engine) == 2

    configure(kafka, lane.topic, {"max.message.bytes": "1048588"})
    assert await publish_all(relays()) == 2
    assert sequences_by_key(read_all(kafka, lane.topic.name)) == {"k": [1, 2]}


def configure(kafka: str, topic: Topic, configs: dict[str, str]) -> None:
    client = KafkaAdminClient(bootstrap_servers=kafka)
    try:
        client.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic.name, configs)])
    finally:
        client.close()
