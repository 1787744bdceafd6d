"""Fetch records, and find a record that Kafka has and its client cannot read.

FastStream's own loop waits 15 s after a failed fetch, for all partitions, again and again. Here only the partition with
the unreadable record waits: records before it are fetched one at a time; the record itself is tried again and then
becomes a dead letter that says where it is. A record that another try may read (a codec that is not installed, a broken
transfer) is never passed over: it is counted, and the process is not ready.
"""

import asyncio
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import chain
from typing import Any

import structlog
from aiokafka import TopicPartition
from aiokafka.errors import ConsumerStoppedError, IllegalStateError, KafkaError

from messaging.consumer import metrics
from messaging.consumer.batches import ATTEMPTS, BatchConsumer
from messaging.record import Record, Unread

# A partition may stand still for this long before the process is not ready.
UNFETCHABLE_SECONDS = 60.0
_POLL_MS = 20  # an empty poll sleeps as long again, so a longer one only adds latency
_REFETCH_MS = 500
_REST_SECONDS = 0.2
# A fetch may fail several times a second; the log says so this often.
_LOG_SECONDS = 15.0

log = structlog.get_logger()


@dataclass(slots=True)
class _UnreadablePosition:
    """A partition that cannot be read on from `offset`."""

    offset: int
    error: str
    attempts: int = 0
    began_at: float = field(default_factory=time.monotonic)
    first_failed_at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Fetcher:
    """Fetches the records of one consumer's batches."""

    def __init__(self, batches: BatchConsumer, max_records: int) -> None:
        self._batches = batches
        self._max_records = max_records
        self._labels = (batches.topic.name, batches.group)
        self._unreadable: dict[TopicPartition, _UnreadablePosition] = {}
        self._must_rewind = False
        # The time since which no fetch has succeeded, and the error.
        self._failing: tuple[float, str] | None = None
        self._logged_at = float("-inf")

    async def fetch(self, consumer: Any) -> tuple[Record, ...]:
        """Return the next records of all partitions; an empty tuple when none arrive for a moment."""
        try:
            if self._must_rewind:
                await self._rewind(consumer)
            fetched = await consumer.getmany(timeout_ms=_POLL_MS, max_records=self._max_records)
        except ConsumerStoppedError:
            raise
        except Exception as error:
            self._count_failure(error)
            self._failing = self._failing or (time.monotonic(), type(error).__name__)
            self._must_rewind = True
            return await self._fetch_each_partition(consumer)
        self._failing = None
        if self._unreadable:
            self._forget_readable(consumer, fetched)
        if not fetched:
            await asyncio.sleep(_POLL_MS / 1000)
        return tuple(chain(*fetched.values()))

    def fetch_problem(self) -> str | None:
        """For the probes: return a message when one or all partitions have stood still for a while."""
        for at, position in self._unreadable.items():
            seconds = time.monotonic() - position.began_at
            if seconds >= UNFETCHABLE_SECONDS:
                return (
                    f"{self._batches.group} cannot read {at.topic}/{at.partition} from offset {position.offset} on,"
                    f" for {seconds:.0f} s: {position.error}"
                )
        if self._failing is not None:
            since, error = self._failing
            seconds = time.monotonic() - since
            if seconds >= UNFETCHABLE_SECONDS:
                topic, group = self._labels
                return f"{group} has fetched nothing of {topic} for {seconds:.0f} s: {error}"
        return None

    async def _fetch_each_partition(self, consumer: Any) -> tuple[Record, ...]:
        # The error does not say which partition it is about.
        records: list[Record] = []
        self._forget_readable(consumer)
        try:
            for at, start in await self._rewind(consumer):
                if start < (consumer.highwater(at) or 0) and len(records) < self._max_records:
                    records += await self._fetch_one_by_one(
                        consumer, at, self._max_records - len(records)
                    )
        except ConsumerStoppedError:
            raise
        except Exception as error:
            # Kafka or the database is away, or the partition has moved. The records read so far are returned.
            self._count_failure(error)
        if not records:
            await asyncio.sleep(_REST_SECONDS)
        return tuple(records)

    async def _rewind(self, consumer: Any) -> list[tuple[TopicPartition, int]]:
        # A failed fetch may have passed over records of other partitions that were not returned. Records returned
        # earlier are finished and their offsets committed, so rewind to these. Until that works, nothing else is
        # fetched.
        starts = []
        for at in sorted(consumer.assignment()):
            committed: int | None = await consumer.committed(at)
            if committed is None:
                await consumer.seek_to_beginning(at)
                committed = int(await consumer.position(at))
            else:
                consumer.seek(at, committed)
            starts.append((at, committed))
        self._must_rewind = False
        return starts

    async def _fetch_one_by_one(
        self, consumer: Any, at: TopicPartition, most: int
    ) -> Sequence[Record]:
        # A failed fetch keeps the records before the unreadable one; fetched one at a time, they are returned.
        records: list[Record] = []
        while len(records) < most:
            try:
                fetched = await consumer.getmany(at, timeout_ms=_REFETCH_MS, max_records=1)
            except (ConsumerStoppedError, IllegalStateError):  # it has moved
                raise
            except Exception as error:
                self._count_failure(error)
                # Records returned before it are finished first: none may be passed over.
                if not records:
                    await self._record_unreadable(consumer, at, error)
                return records
            if not fetched:
                break
            records += fetched[at]
        if records:
            self._forget_readable(consumer, [at])
        return records

    async def _record_unreadable(self, consumer: Any, at: TopicPartition, error: Exception) -> None:
        offset = await consumer.position(at)
        position = self._unreadable.get(at)
        if position is None or position.offset != offset:
            position = self._unreadable[at] = _UnreadablePosition(offset, type(error).__name__)
            log.error(
                "unreadable",
                topic=at.topic,
                partition=at.partition,
                offset=offset,
                error=position.error,
            )
        position.attempts += 1
        # A KafkaError is a fault of Kafka or of the installation and can be repaired; any other error is the record's.
        if isinstance(error, KafkaError) or position.attempts < ATTEMPTS:
            return
        record = Unread(at.topic, at.partition, offset)
        await self._batches.bury_unread(
            record, position.error, position.attempts, position.first_failed_at
        )
        # Committed as well, because the next rewind goes back to the committed offset.
        await consumer.commit({at: offset + 1})
        consumer.seek(at, offset + 1)
        del self._unreadable[at]

    def _forget_readable(self, consumer: Any, read: Collection[TopicPartition] = ()) -> None:
        # Forget the unreadable positions of partitions that can be read by now, or that belong to another member.
        assigned = consumer.assignment()
        self._unreadable = {
            at: position
            for at, position in self._unreadable.items()
            if at in assigned and at not in read
        }

    def _count_failure(self, error: Exception) -> None:
        name = type(error).__name__
        metrics.FAILURES.labels(*self._labels, name).inc()
        now = time.monotonic()
        if now - self._logged_at >= _LOG_SECONDS:
            self._logged_at = now
            log.warning("fetch_failed", topic=self._labels[0], group=self._labels[1], error=name)
