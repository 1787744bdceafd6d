"""An independent consumer that reads events back from Kafka and records their ids and times."""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.topics import Topic

# After this long without a new record the missing ones are given up.
SILENCE_SECONDS = 60.0
POLL_SECONDS = 0.05


class Witness:
    """Reads topics from their present end on. `ids` are the records' ce_id, `seen_at` each key's last time.

    Times are seconds since the epoch, by this process's clock.
    """

    def __init__(self, bootstrap: str, topics: Sequence[Topic]) -> None:
        self._partitions = [
            TopicPartition(topic.name, n) for topic in topics for n in range(topic.partitions)
        ]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            # A consumer that fetches each record alone costs Kafka more than the measured load does. Waiting for a
            # larger fetch adds at most 10 ms.
            fetch_min_bytes=500_000,
            fetch_max_wait_ms=10,
        )
        self._start: dict[TopicPartition, int] = {}
        self.ids: list[bytes] = []
        self.seen_at: dict[str, float] = {}
        self.last_at = 0.0

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._start = await self._consumer.end_offsets(self._partitions)
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def wait(self, records: int, progress: Callable[[int], None] = lambda _: None) -> bool:
        """Wait until the ends of the partitions show this number of records; return False if they do not come.

        Reading the records meanwhile would take a tenth of the machine from the measured load.
        """
        arrived, changed_at = 0, time.time()
        while arrived < records:
            ends = await self._consumer.end_offsets(self._partitions)
            now, before = time.time(), arrived
            arrived = sum(ends.values()) - sum(self._start.values())
            if arrived > before:
                self.last_at = changed_at = now
                progress(arrived)
            elif now - changed_at > SILENCE_SECONDS:
                return False
            await asyncio.sleep(POLL_SECONDS)
        return True

    async def read(self, records: int) -> bool:
        """Read this number of records, for the integrity check; return False if they do not come."""
        self._consumer.assign(self._partitions)
        for partition, offset in self._start.items():
            self._consumer.seek(partition, offset)
        changed_at = time.time()
        while len(self.ids) < records:
            batches = await self._consumer.getmany(timeout_ms=100, max_records=5_000)
            now = time.time()
            for batch in batches.values():
                # The envelope writes the event id as the second header.
                self.ids += [record.headers[1][1] for record in batch]
                self.seen_at.update((record.key.decode(), now) for record in batch)
            if batches:
                changed_at = now
            elif now - changed_at > SILENCE_SECONDS:
                return False
        self.last_at = self.last_at or changed_at
        return True
