"""Publish rows of the outbox to Kafka: one batch for each partition, acknowledged by all replicas, or an error.

aiokafka's producer is idempotent and retries transient errors for ever. Batches are built per partition, so the
partition is computed here: murmur2 of the key modulo the contract's count, as all writers of these topics do.
"""

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    BrokerResponseError,
    CorruptRecordException,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    KafkaError,
    OutOfOrderSequenceNumber,
    UnknownError,
    UnknownProducerId,
)

from events.envelope import Header, headers
from events.topics import BY_CODE, Topic
from messaging.outbox import TYPE_PREFIX, unpack_raw
from messaging.relay.lead import HaltedError
from messaging.relay.partition import murmur2_all
from messaging.relay.windows import Row

# Kafka takes 1 MiB for a batch by default. A message that is larger than this by itself gets a batch of its own.
LARGEST_BATCH_BYTES = 1_000_000
# A producer that cannot deliver its messages is abandoned after this time.
CLOSE_SECONDS = 5.0

# Refusals because of the producer's session or a fault of the broker, not because of the messages.
_NOT_ABOUT_THE_MESSAGE = (
    CorruptRecordException,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    OutOfOrderSequenceNumber,
    UnknownError,
    UnknownProducerId,
)

Lane = tuple[int, int]  # topic code, partition


class StartOverError(ConnectionError):
    """It is unknown how much Kafka has stored: go on from the cursor with a new producer."""


class Publisher:
    """One idempotent producer, used by one task at a time."""

    def __init__(self, bootstrap: str, client_id: str) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=bootstrap,
            client_id=client_id,
            enable_idempotence=True,
            acks="all",
            max_batch_size=LARGEST_BATCH_BYTES,
        )
        self._checked: set[int] = set()

    async def start(self) -> None:
        """Connect. Raises KafkaConnectionError when no broker answers."""
        try:
            await self._producer.start()
        except BaseException:
            await self.close()
            raise

    async def publish(self, rows: Sequence[Row]) -> None:
        """Send the rows in their order and wait until Kafka has all of them.

        Raises HaltedError when Kafka refuses the messages, and StartOverError when trying again is right.
        """
        try:
            for code in {row["topic"] for row in rows}:
                await self._check_partition_count(code)
            lanes = self._build_batches(rows)
            while lanes:
                # A partition's second batch waits until the first is acknowledged: if the first were refused, the
                # second would be published before it.
                await self._send([(lane, batches.pop(0)) for lane, batches in lanes.items()])
                lanes = {lane: batches for lane, batches in lanes.items() if batches}
        except KafkaError as error:
            raise _classified(error) from error

    async def close(self) -> None:
        """Close the connections without waiting for unfinished batches: the cursor does not count them as published."""
        try:
            await asyncio.wait_for(self._producer.stop(), CLOSE_SECONDS)
        except (KafkaError, TimeoutError):
            await self._producer.client.close()

    async def _check_partition_count(self, code: int) -> None:
        """Raise HaltedError for a topic that differs from the contract: a key's messages would change partitions."""
        if code in self._checked:
            return
        topic = BY_CODE.get(code)
        if topic is None:
            raise HaltedError(f"the outbox names topic {code}: its writer is newer than this relay")
        partitions = await self._producer.partitions_for(topic.name)
        if len(partitions) != topic.partitions:
            raise HaltedError(
                f"{topic.name} has {len(partitions)} partitions, and the contract says {topic.partitions}"
            )
        self._checked.add(code)

    def _build_batches(self, rows: Sequence[Row]) -> dict[Lane, list[Any]]:
        """Return the batches of each partition, in order. This is the relay's hot loop: 5 µs per row."""
        lanes: dict[Lane, list[Any]] = {}
        now_ms = int(time.time() * 1000)
        hashes = murmur2_all([row["key"].encode() for row in rows])
        for row, hashed in zip(rows, hashes, strict=True):
            topic = BY_CODE[row["topic"]]
            lane = (topic.code, (hashed & 0x7FFFFFFF) % topic.partitions)
            batches = lanes.get(lane)
            if batches is None:
                batches = lanes[lane] = [self._producer.create_batch()]
            key, record_headers = _key_and_headers(row, topic)
            value = row["payload"]
            added = batches[-1].append(
                timestamp=now_ms, key=key, value=value, headers=record_headers
            )
            if added is None:  # full
                batches.append(self._producer.create_batch())
                batches[-1].append(timestamp=now_ms, key=key, value=value, headers=record_headers)
        return lanes

    async def _send(self, batches: Sequence[tuple[Lane, Any]]) -> None:
        sent = []
        try:
            for (code, partition), batch in batches:
                batch.close()
                topic = BY_CODE[code].name
                sent.append(await self._producer.send_batch(batch, topic, partition=partition))
        finally:
            # In any case no batch is under way when this ends.
            outcomes = await asyncio.gather(*sent, return_exceptions=True)
        for outcome in outcomes:
            if isinstance(outcome, BaseException):
                raise outcome


def _key_and_headers(row: Row, topic: Topic) -> tuple[bytes | None, list[Header]]:
    """Return the key and the headers of one record; a dead letter has its original ones."""
    if row["raw"] is not None:
        return unpack_raw(row["raw"])
    key = row["key"]
    return key.encode(), headers(
        row["event_id"],
        TYPE_PREFIX + row["type"],
        topic.source,
        key,
        row["created_at"],
        row["sequence"],
        row["traceparent"],
        row["correlation_id"],
        row["signature"],
    )


def _classified(error: KafkaError) -> Exception:
    """Return HaltedError for a refusal that would be repeated next time, StartOverError for any other error."""
    refused = isinstance(error, BrokerResponseError) and not error.retriable
    if refused and not isinstance(error, _NOT_ABOUT_THE_MESSAGE):
        return HaltedError(f"Kafka refuses to publish: {type(error).__name__} {error}")
    return StartOverError(f"{type(error).__name__} {error}")
