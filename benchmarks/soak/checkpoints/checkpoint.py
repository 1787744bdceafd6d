"""One checkpoint: the figures of the time since the previous one, as a row of the result."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kafka.errors import KafkaError

from benchmarks.machine.cost import Meter
from benchmarks.machine.processes import memory, pids, with_servers
from benchmarks.machine.running import meter
from benchmarks.measured_city import Connection
from benchmarks.samples import percentile
from benchmarks.soak.checkpoints import soak_topics
from benchmarks.soak.checkpoints.watch import Latencies, Watch
from benchmarks.soak.past.days import partitions
from benchmarks.soak.scene import Scene
from benchmarks.soak.soak_sender import Entry, read_diary
from events.topics import RECEIPT_EVENTS
from messaging.relay import backlog
from sandbox.local.local_process import LocalProcess

Row = dict[str, Any]

_SIZES = """
    SELECT CASE WHEN relname LIKE 'outbox\\_p%' THEN CASE
            WHEN relname < to_char(now() AT TIME ZONE 'UTC' - interval '1 day', '"outbox_p"YYYYMMDD')
            THEN 'outbox_past' ELSE 'outbox' END ELSE relname END AS name,
        CAST(sum(pg_total_relation_size(oid)) AS bigint) AS bytes
    FROM pg_class WHERE relnamespace = CAST('billing' AS regnamespace) AND relkind = 'r'
    AND (relname IN ('payments', 'transfers', 'receipts') OR relname LIKE 'outbox\\_p%')
    GROUP BY 1
"""
_SERVER = """
    SELECT (SELECT num_done FROM pg_stat_checkpointer) AS checkpoints,
        (SELECT wal_fpi FROM pg_stat_wal) AS full_pages,
        (SELECT CAST(sum(size) AS bigint) FROM pg_ls_waldir()) AS wal_bytes
"""


@dataclass(slots=True)
class Subjects:
    """The things that a checkpoint measures."""

    scene: Scene
    connection: Connection  # the superuser's, to the city's database
    processes: Mapping[str, Sequence[LocalProcess]]
    latencies: Latencies
    watch: Watch


class Checkpoints:
    """Measures from one checkpoint to the next."""

    def __init__(self, subjects: Subjects) -> None:
        self._of = subjects
        self._bootstrap = subjects.scene.stage.kafka.bootstrap
        self._meter: Meter | None = None
        self._at = 0.0
        self._ends: soak_topics.Ends = {}
        self._server: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}

    async def start(self) -> None:
        """Start the first interval."""
        self._ends = await asyncio.to_thread(soak_topics.ends, self._bootstrap)
        self._at = self._of.scene.at()
        self._of.latencies.take()
        self._server = await self._read_server()
        self._sizes = await self._read_sizes()
        await self._start_meter()

    async def take(self) -> Row:
        """Return the row of the interval since the last checkpoint, and delete the counted records from Kafka."""
        of, scene = self._of, self._of.scene
        ends, at = await asyncio.to_thread(soak_topics.ends, self._bootstrap), scene.at()
        assert self._meter is not None
        payments = soak_topics.records(ends, RECEIPT_EVENTS, self._ends)
        units = max(1, payments)
        cost = await self._meter.cost(units)
        server, sizes = await self._read_server(), await self._read_sizes()
        diary = read_diary(scene.diary)
        row = {
            "at_seconds": at,
            "seconds": at - self._at,
            "payments": payments,
            "payments_per_second": payments / (at - self._at),
            **sent_between(diary, scene.began + self._at, scene.began + at),
            "commands_waiting": await asyncio.to_thread(
                soak_topics.commands_waiting, self._bootstrap
            ),
            "outbox_waiting": (await backlog(of.connection))[0],
            **cost,
            "cpu_us": sum(value for name, value in cost.items() if name in PRODUCT),
            "wal_full_pages": (server["full_pages"] - self._server["full_pages"]) / units,
            **await asyncio.to_thread(self._memory),
            "checkpoints": server["checkpoints"] - self._server["checkpoints"],
            "audit_seconds": of.watch.audit_seconds(self._at, at),
            "grown_bytes": sum(sizes[name] - self._sizes[name] for name in GROWING) / units,
            **{f"{name}_bytes": size for name, size in sizes.items()},
            "wal_directory_bytes": server["wal_bytes"],
            "kafka_bytes": await asyncio.to_thread(folder_bytes, scene.stage.kafka.folder),
            "free_bytes": scene.stage.free_bytes(),
            "outbox_partitions": len(await partitions(of.connection)),
            **spread(of.latencies.take()),
        }
        await self._trim_kafka()
        self._at, self._ends, self._server, self._sizes = at, ends, server, sizes
        await self._start_meter()
        return row

    async def _trim_kafka(self) -> None:
        try:
            await asyncio.to_thread(soak_topics.trim, self._bootstrap, self._ends)
        except KafkaError as error:
            self._of.scene.note(
                f"deleting counted records from Kafka failed: {type(error).__name__} {error}"
            )

    async def _start_meter(self) -> None:
        self._meter = meter(self._of.scene.stage, **self._of.processes)
        await self._meter.start()

    def _memory(self) -> dict[str, float]:
        pids_by_name = with_servers(self._of.scene.stage, pids(self._of.processes))
        return {
            f"memory_mb_{name}{kind}": megabytes
            for name, group in pids_by_name.items()
            for kind, megabytes in memory(group).items()
            if megabytes or not kind
        }

    async def _read_server(self) -> dict[str, Any]:
        return dict(await self._of.connection.fetchrow(_SERVER))

    async def _read_sizes(self) -> dict[str, int]:
        rows = await self._of.connection.fetch(_SIZES)
        return {row["name"]: row["bytes"] for row in rows}


# The tables that payments grow; the outbox's days of the past are added and dropped.
GROWING = ("payments", "transfers", "receipts", "outbox")
# The processes whose time counts as the cost of a payment: not the sender, nor the benchmark itself.
PRODUCT = ("cpu_us_worker", "cpu_us_relay", "cpu_us_timer", "cpu_us_postgres", "cpu_us_kafka")


def sent_between(diary: Sequence[Entry], since: float, until: float) -> dict[str, float]:
    """Return the commands sent per second between these times, and the largest delay of the sender."""
    before = [each for each in diary if each.at <= since]
    within = [each for each in diary if since < each.at <= until]
    if not within:
        return {"commands_per_second": 0.0, "late_ms": 0.0}
    first, last = before[-1] if before else None, within[-1]
    sent = last.sent - (first.sent if first else 0)
    seconds = last.at - (first.at if first else last.began)
    return {
        "commands_per_second": sent / seconds if seconds > 0 else 0.0,
        "late_ms": max(each.late_ms for each in within),
    }


def spread(waited_ms: list[float]) -> dict[str, float | None]:
    """Return median, 99th percentile and number of latencies; the percentiles are None below two samples."""
    if len(waited_ms) < 2:
        return {"p50_ms": None, "p99_ms": None, "sampled": len(waited_ms)}
    return {
        "p50_ms": percentile(waited_ms, 50),
        "p99_ms": percentile(waited_ms, 99),
        "sampled": len(waited_ms),
    }


def folder_bytes(folder: Path) -> int:
    """Return the disk space of the files in a folder; files that vanish meanwhile count as 0."""
    total = 0
    for file in folder.rglob("*"):
        try:
            total += file.stat().st_blocks * 512
        except OSError:
            continue
    return total
