"""A batch of records, from decoding to the commit of its offsets.

records → decode → handler(messages) → dead letters through the outbox → offsets. A batch is either finished and its
offsets are committed, or it is rewound whole; nothing is skipped. After a transient error the batch is handled again.
After an unexpected error of the handler the batch is halved until the record that causes it is found.
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import ContractError, decode
from events.topics import DEAD_LETTERS, Topic
from messaging.consumer import metrics
from messaging.consumer.burial import Buried, Dead, bury
from messaging.consumer.handler import Handler, Message
from messaging.record import Record, Unread
from messaging.transient import backoff_seconds, is_transient

# A batch that takes longer is stuck; a batch of 500 takes less than a second.
STUCK_SECONDS = 60.0
# The number of unexpected errors after which a single record becomes a dead letter.
ATTEMPTS = 5

log = structlog.get_logger()


class _InterruptedBatchError(Exception):
    """The process stops or the partitions move: the batch is rewound."""


class BatchConsumer:
    """One consumer of one topic: handles a batch at a time and either finishes it or rewinds it."""

    def __init__(
        self,
        topic: Topic,
        group: str,
        handler: Handler,
        engine: AsyncEngine,
        buried: Buried | None = None,
    ) -> None:
        if (topic.name, group) not in DEAD_LETTERS:
            raise ValueError(f"no dead letter topic is declared for {topic.name} and {group}")
        self.topic = topic
        self.group = group
        # FastStream's subscriber knows whether the process is stopping, and owns the consumer whose offsets we commit.
        self.subscriber: Any = None
        # Returns a message that names the partition which cannot be read, or None.
        self.fetch_problem: Callable[[], str | None] = lambda: None
        self._began_at = time.monotonic()
        self._handler = handler
        self._engine = engine
        self._buried = buried
        self._labels = (topic.name, group)
        self._idle = asyncio.Event()
        self._idle.set()
        self._revoking = False
        # Records that made the handler fail, by partition and offset, until their batch is finished.
        self._failed_records: dict[tuple[int, int], Dead] = {}

    async def handle_batch(self, records: Sequence[Record]) -> None:
        """Finish the batch and commit its offsets, or rewind to its start. Raises nothing: FastStream would go on."""
        self._idle.clear()
        self._began_at = time.monotonic()
        try:
            if await self._handle_until_done(records):
                self._failed_records.clear()
                await self._commit(records)
            else:
                self._rewind(records)
        except Exception as error:
            # A fault of this wrapper: errors of the work itself are handled inside. The batch comes again.
            self._log_error("batch_given_back", error)
            self._rewind(records)
            await self._interrupted_within(1.0)
        finally:
            self._idle.set()

    async def drain(self, timeout_seconds: float) -> None:
        """Let the batch in flight end before the partitions move, so that no other member gets it a second time."""
        metrics.REBALANCES.labels(*self._labels).inc()
        self._revoking = True
        try:
            await asyncio.wait_for(self._idle.wait(), timeout_seconds)
        except TimeoutError:
            log.warning("batch_outlived_drain", topic=self.topic.name, group=self.group)

    async def progress(self) -> str | None:
        """For the probes: return a message when the batch in flight is stuck or a partition cannot be read."""
        seconds = 0.0 if self._idle.is_set() else time.monotonic() - self._began_at
        if seconds < STUCK_SECONDS:
            return self.fetch_problem()
        return f"{self.group} has been handling a batch of {self.topic.name} for {seconds:.0f} s"

    async def bury_unread(
        self, record: Unread, error: str, attempts: int, first_failed_at: datetime
    ) -> None:
        """Write the dead letter of a record that cannot be read. Raises the database's errors."""
        text = f"the record cannot be read from Kafka ({error})"
        await self._bury([Dead(record, "unreadable", text, attempts, first_failed_at)])

    def resume(self) -> None:
        """Go on after the partitions have moved."""
        self._revoking = False

    async def _handle_until_done(self, records: Sequence[Record]) -> bool:
        """Handle the batch, repeatedly if necessary; return False when the batch is to be rewound."""
        messages, undecodable = _decode(records, self.topic)
        attempt = 0
        with metrics.BATCH_SECONDS.labels(*self._labels).time():
            while True:
                try:
                    dead = [*undecodable, *(await self._handle(messages) if messages else ())]
                    await self._bury(dead)
                except _InterruptedBatchError:
                    return False
                except Exception as error:
                    # Transient, or a fault of ours. Skipping is never right, so the batch is handled until it works.
                    attempt += 1
                    self._log_error("batch_retry", error, attempt=attempt)
                    if await self._interrupted_within(backoff_seconds(attempt)):
                        return False
                else:
                    handled = len(records) - len(dead)
                    metrics.RECORDS.labels(*self._labels, "handled").inc(handled)
                    return True

    async def _handle(self, messages: Sequence[Message]) -> list[Dead]:
        """Return the messages that become dead letters; one that makes the handler fail is found by halving."""
        try:
            rejected = await self._handler(messages)
        except Exception as error:
            if is_transient(error):
                raise
            self._log_error("handler_failed", error, messages=len(messages))
            if len(messages) == 1:
                return await self._retry_single(messages[0], error)
            middle = len(messages) // 2
            first = await self._handle(messages[:middle])
            return [*first, *await self._handle(messages[middle:])]
        return [Dead(each.message.record, each.reason, each.text) for each in rejected]

    async def _retry_single(self, message: Message, error: Exception) -> list[Dead]:
        record = message.record
        dead = self._failed_records.setdefault(
            (record.partition, record.offset), Dead(record, "", "", attempts=0)
        )
        dead.attempts += 1
        if dead.attempts < ATTEMPTS:
            if await self._interrupted_within(backoff_seconds(dead.attempts, first=0.02)):
                raise _InterruptedBatchError
            return await self._handle([message])
        # The text of an error may quote the record's content, so only its class is recorded.
        dead.reason = type(error).__name__
        dead.text = f"the handler failed {dead.attempts} times"
        return [dead]

    async def _bury(self, dead: Sequence[Dead]) -> None:
        await bury(self._engine, self.group, dead, self._buried)

    async def _commit(self, records: Sequence[Record]) -> None:
        # Explicit offsets: a bare commit() after a rebalance would commit the position and not the batch.
        offsets = {
            TopicPartition(record.topic, record.partition): record.offset + 1 for record in records
        }
        try:
            await self.subscriber.consumer.commit(offsets)
        except KafkaError as error:
            # The partitions belong to another member by now, which gets these records again.
            metrics.COMMIT_FAILURES.labels(*self._labels).inc()
            self._log_error("offset_commit_failed", error)

    def _rewind(self, records: Sequence[Record]) -> None:
        # Without this the next batch would commit past this one.
        first: dict[TopicPartition, int] = {}
        for record in records:
            first.setdefault(TopicPartition(record.topic, record.partition), record.offset)
        for partition, offset in first.items():
            try:
                self.subscriber.consumer.seek(partition, offset)
            except KafkaError:
                continue  # moved away: its next owner starts at the committed offset

    async def _interrupted_within(self, seconds: float) -> bool:
        """Wait this long; return True as soon as the process stops or the partitions move, else False."""
        until = time.monotonic() + seconds
        while self.subscriber.running and not self._revoking:
            left = until - time.monotonic()
            if left <= 0:
                return False
            await asyncio.sleep(min(left, 0.1))
        return True

    def _log_error(self, event_name: str, error: Exception, **more: object) -> None:
        metrics.FAILURES.labels(*self._labels, type(error).__name__).inc()
        state = getattr(getattr(error, "orig", None), "sqlstate", None)
        name = type(error).__name__
        log.warning(
            event_name, topic=self.topic.name, group=self.group, error=name, state=state, **more
        )


def _decode(records: Sequence[Record], topic: Topic) -> tuple[list[Message], list[Dead]]:
    messages, dead = [], []
    for record in records:
        try:
            decoded = decode(topic.name, record.key, record.value, record.headers)
        except ContractError as error:
            dead.append(Dead(record, error.code, error.text))
        except Exception as error:
            # An unexpected error in decoding must not hold up the partition.
            dead.append(Dead(record, "undecodable", type(error).__name__))
        else:
            for name in decoded.dropped:
                metrics.DROPPED_HEADERS.labels(topic.name, name).inc()
            messages.append(
                Message(
                    record,
                    decoded.id,
                    decoded.type,
                    decoded.event,
                    decoded.traceparent,
                    decoded.correlation_id,
                    decoded.headers,
                )
            )
    return messages, dead
