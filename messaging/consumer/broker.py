"""Kafka in: FastStream's batch subscriber with the settings that lose nothing.

FastStream runs the consumer. Its decoding and acknowledgement are not used, because its defaults commit records that
failed and drop a whole batch for one bad header. Each batch of raw records goes to batches.py. Handlers must be
idempotent: delivery is at least once.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Sequence

from aiokafka import ConsumerRebalanceListener, TopicPartition
from faststream import AckPolicy
from faststream.kafka import KafkaBroker
from faststream.kafka.message import FAKE_CONSUMER
from faststream.kafka.message import KafkaMessage as Envelope
from faststream.kafka.subscriber.usecase import BatchSubscriber
from sqlalchemy.ext.asyncio import AsyncEngine

from events.topics import Topic
from messaging.consumer.batches import BatchConsumer
from messaging.consumer.burial import Buried
from messaging.consumer.fetching import Fetcher
from messaging.consumer.handler import Handler
from messaging.pacing import rest_seconds
from messaging.record import Record

# The group waits this long for a batch in flight before the partitions move without it.
DRAIN_SECONDS = 45.0
# Partitions of a member that is silent for so long move to the others. Transactions end sooner (chassis/database.py),
# or the new owner would wait for locks that the old one has left behind.
SESSION_SECONDS = 10.0


def make_broker(bootstrap: str, client_id: str) -> KafkaBroker:
    """Return a FastStream broker for consumers. It may not create topics, because they would get one partition."""
    return KafkaBroker(
        bootstrap,
        client_id=client_id,
        allow_auto_create_topics=False,
        # It logs every batch twice, and its own logger's lines are not JSON.
        logger=logging.getLogger("meterhall.consumers"),
        log_level=logging.DEBUG,
        # Handlers get the records and nothing else: dependency injection would cost a switch of threads.
        apply_types=False,
        serializer=None,
        # A batch in flight has this long to end when the process stops.
        graceful_timeout=20.0,
    )


def subscribe(
    broker: KafkaBroker,
    topic: Topic,
    group: str,
    handler: Handler,
    engine: AsyncEngine,
    *,
    max_records: int = 500,
    buried: Buried | None = None,
) -> BatchConsumer:
    """Hand the records of `topic` to `handler` in batches, as a member of `group`.

    `buried` is called with records that become dead letters, in the transaction that writes the letters. Partitions
    move 10 s after a member has crashed, and at once after it has stopped cleanly.
    """
    batches = BatchConsumer(topic, group, handler, engine, buried)
    subscriber = _subscriber(broker, batches, max_records)
    batches.subscriber = subscriber
    # FastStream calls this method for the next records.
    fetcher = Fetcher(batches, max_records)
    subscriber.get_msg = fetcher.fetch  # type: ignore[method-assign]
    batches.fetch_problem = fetcher.fetch_problem

    @subscriber
    async def handle(records: Sequence[Record]) -> None:
        if len(records) < max_records // 2:
            await _handle_and_rest(batches, records)
        else:
            await batches.handle_batch(records)

    return batches


async def _handle_and_rest(batches: BatchConsumer, records: Sequence[Record]) -> None:
    # Kafka answers a fetch as soon as it has one record. A fetch sent while a batch is handled would therefore return
    # one or two records, and all later ones would wait for the fetch after it. So the next fetch is sent when the
    # batch is done: by then it returns everything that has arrived.
    consumer = batches.subscriber.consumer
    assigned = consumer.assignment()
    consumer.pause(*assigned)
    began = time.monotonic()
    await batches.handle_batch(records)
    await asyncio.sleep(rest_seconds(time.monotonic() - began))
    consumer.resume(*(assigned & consumer.assignment()))


def _subscriber(broker: KafkaBroker, batches: BatchConsumer, max_records: int) -> BatchSubscriber:
    # FastStream's defaults lose messages.
    return broker.subscriber(
        batches.topic.name,
        batch=True,
        max_records=max_records,
        group_id=batches.group,
        session_timeout_ms=int(SESSION_SECONDS * 1000),
        rebalance_timeout_ms=int(DRAIN_SECONDS * 1000) + 15_000,
        ack_policy=AckPolicy.MANUAL,
        auto_offset_reset="earliest",
        # Records of a transaction that their producer aborted are not delivered.
        isolation_level="read_committed",
        listener=_DrainOnRevoke(batches),
        no_reply=True,
        parser=_parse,
        decoder=_decode,
        title=f"{batches.group}: {batches.topic.name}",
    )


class _DrainOnRevoke(ConsumerRebalanceListener):  # type: ignore[misc]
    # aiokafka awaits this before it rejoins the group and goes on with its heartbeats meanwhile.
    def __init__(self, batches: BatchConsumer) -> None:
        self._batches = batches

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        await self._batches.drain(DRAIN_SECONDS)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        self._batches.resume()


async def _parse(records: tuple[Record, ...]) -> Envelope:
    # FastStream's parser decodes the headers, raises for a bad one, and so loses the whole batch.
    first = records[0]
    return Envelope(
        body=b"",
        raw_message=records,
        message_id=f"{first.topic}/{first.partition}/{first.offset}",
        consumer=FAKE_CONSUMER,
    )


async def _decode(message: Envelope) -> Sequence[Record]:
    records: Sequence[Record] = message.raw_message
    return records
