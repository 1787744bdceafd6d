"""The watch during a soak, second by second: latencies, new and dropped partitions, audits, and processes that died."""

import asyncio
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self
from uuid import UUID

from aiokafka import AIOKafkaConsumer, TopicPartition

from benchmarks.measured_city import Connection
from benchmarks.soak.checkpoints.soak_topics import partitions as some_partitions
from benchmarks.soak.past.days import changes, partitions
from events.ids import milliseconds_of
from events.topics import RECEIPT_EVENTS
from sandbox.local.local_process import LocalProcess

# A sixth of the receipts is a large enough sample of the latencies, and costs little.
SAMPLED_PARTITIONS = 2
WATCH_SECONDS = 1.0

_AUDITING = """
    SELECT extract(epoch FROM xact_start) AS began, extract(epoch FROM clock_timestamp()) AS now
    FROM pg_stat_activity
    WHERE query LIKE '%AS violating%LIMIT%' AND state <> 'idle' AND pid <> pg_backend_pid()
    AND datname = current_database() AND xact_start IS NOT NULL
"""


class Latencies:
    """Latencies of payments, from some partitions of the receipts; a payment's id has the time its command was due."""

    def __init__(self, bootstrap: str) -> None:
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=bootstrap,
            enable_auto_commit=False,
            auto_offset_reset="latest",
            fetch_max_wait_ms=20,
        )
        self._waited_ms: list[float] = []
        self._reading: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        await self._consumer.start()
        self._consumer.assign(
            [TopicPartition(*each) for each in some_partitions(RECEIPT_EVENTS, SAMPLED_PARTITIONS)]
        )
        await self._consumer.seek_to_end()
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        if self._reading:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        await self._consumer.stop()

    def take(self) -> list[float]:
        """Return the milliseconds from command to receipt of all payments since the last call."""
        taken, self._waited_ms = self._waited_ms, []
        return taken

    async def _read(self) -> None:
        while True:
            batches = await self._consumer.getmany(timeout_ms=200, max_records=5_000)
            now_ms = time.time() * 1000
            for batch in batches.values():
                self._waited_ms += [
                    now_ms - milliseconds_of(UUID(record.key.decode())) for record in batch
                ]


class Watch:
    """Polls once a second and collects `seen` (partitions new or gone), `audits` and `deaths`; `at` is the clock."""

    def __init__(
        self, superuser: Connection, processes: Sequence[LocalProcess], at: Callable[[], float]
    ) -> None:
        self._superuser = superuser
        self._processes = list(processes)
        self._at = at
        self._partitions: list[str] = []
        self._auditing: dict[float, dict[str, float]] = {}
        self.seen: list[dict[str, Any]] = []
        self.deaths: list[str] = []

    @property
    def audits(self) -> list[dict[str, float]]:
        """The audits' statements that were seen: their start, and the seconds for which they were seen running."""
        return list(self._auditing.values())

    def add(self, process: LocalProcess) -> None:
        """Watch another process."""
        self._processes.append(process)

    async def run(self) -> None:
        """Watch until cancelled. A process that died is restarted, as by a supervisor, and recorded in `deaths`."""
        self._partitions = await partitions(self._superuser)
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            await self._poll()
            for process in self._processes:
                if process.revive():
                    self.deaths.append(f"{process.name} died after {self._at():.0f} s")

    async def _poll(self) -> None:
        now = await partitions(self._superuser)
        self.seen += changes(self._partitions, now, self._at())
        self._partitions = now
        for row in await self._superuser.fetch(_AUDITING):
            began, seconds = float(row["began"]), float(row["now"] - row["began"])
            seen = self._auditing.setdefault(
                began, {"at_seconds": round(self._at() - seconds, 1), "seconds": 0.0}
            )
            seen["seconds"] = round(seconds, 1)

    def audit_seconds(self, since: float, until: float) -> float:
        """Return the seconds for which audits ran between these times of the run."""
        return sum(
            max(
                0.0,
                min(until, each["at_seconds"] + each["seconds"]) - max(since, each["at_seconds"]),
            )
            for each in self._auditing.values()
        )
