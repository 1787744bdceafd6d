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


class Witness:
    """Reads topics from their present end on. `ids` are the records' ce_id, `seen_at` when a key's last record came.

    Times are seconds since the epoch, by this process's clock.
    """

    def __init__(self, bootstrap: str, topics: Sequence[Topic], timed: Topic | None = None) -> None:
        self._topics = topics
        self._timed = timed.name if timed else ""
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            fetch_max_wait_ms=20,
            check_crcs=False,
        )
        self.ids: list[bytes] = []
        self.types: list[bytes] = []
        self.seen_at: dict[str, float] = {}
        self.last_at = 0.0

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        at = [
            TopicPartition(t.name, number) for t in self._topics for number in range(t.partitions)
        ]
        self._consumer.assign(at)
        await self._consumer.seek_to_end(*at)
        for each in at:
            await self._consumer.position(each)
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._consumer.stop()

    async def read(self, records: int, progress: Callable[[int], None] = lambda _: None) -> bool:
        """Read until there were so many; False when they do not come."""
        self.last_at = time.time()
        while len(self.ids) < records:
            found = await self._consumer.getmany(timeout_ms=100, max_records=5_000)
            now = time.time()
            for at, batch in found.items():
                # headers() of the envelope writes the id second and the type fourth.
                self.ids += [record.headers[1][1] for record in batch]
                if at.topic == self._timed:
                    self.seen_at.update((record.key.decode(), now) for record in batch)
                    self.types += [record.headers[3][1] for record in batch]
            if found:
                self.last_at = now
                progress(len(self.ids))
            elif now - self.last_at > SILENCE_SECONDS:
                return False
            await asyncio.sleep(0)
        return True
