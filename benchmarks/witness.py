"""The witness: a consumer of its own that reads the events back from Kafka and remembers what it has seen, and when."""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from aiokafka import AIOKafkaConsumer, TopicPartition

from events.topics import Topic

# Nothing new for so long: what is missing will not come.
SILENCE_SECONDS = 60.0
ASK_SECONDS = 0.05


class Witness:
    """Reads topics from their present end on. `ids` are the records' ce_id, `seen_at` when a key's last record came.

    Times are seconds since the epoch, by this process's clock.
    """

    def __init__(self, bootstrap: str, topics: Sequence[Topic]) -> None:
        self._partitions = [
            TopicPartition(topic.name, n) for topic in topics for n in range(topic.partitions)
        ]
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            # Who asks for every record by itself keeps Kafka busier than all that is measured: this adds 10 ms at most.
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
        """Wait until Kafka has so many: its partitions' ends say so. False when they do not come.

        To read them meanwhile would take a tenth of the machine from what is measured.
        """
        there, changed_at = 0, time.time()
        while there < records:
            ends = await self._consumer.end_offsets(self._partitions)
            now, before = time.time(), there
            there = sum(ends.values()) - sum(self._start.values())
            if there > before:
                self.last_at = changed_at = now
                progress(there)
            elif now - changed_at > SILENCE_SECONDS:
                return False
            await asyncio.sleep(ASK_SECONDS)
        return True

    async def read(self, records: int) -> bool:
        """Read until there were so many; False when they do not come. After `wait` it is for the proof."""
        self._consumer.assign(self._partitions)
        for partition, offset in self._start.items():
            self._consumer.seek(partition, offset)
        changed_at = time.time()
        while len(self.ids) < records:
            found = await self._consumer.getmany(timeout_ms=100, max_records=5_000)
            now = time.time()
            for batch in found.values():
                # headers() of the envelope writes the id second.
                self.ids += [record.headers[1][1] for record in batch]
                self.seen_at.update((record.key.decode(), now) for record in batch)
            if found:
                changed_at = now
            elif now - changed_at > SILENCE_SECONDS:
                return False
        self.last_at = self.last_at or changed_at
        return True
