"""What a measurement cost: processor time by process, from /proc, and bytes of write-ahead log."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.stage import Stage

_TICKS = os.sysconf("SC_CLK_TCK")


class Meter:
    """Reads processor time by name, and the write-ahead log. `processes` are pids; PostgreSQL and Kafka are added."""

    def __init__(self, stage: Stage, processes: Mapping[str, Sequence[int]]) -> None:
        self._stage = stage
        self._processes = {
            **processes,
            "kafka": [int((stage.kafka.folder / "kafka.pid").read_text())],
            "postgres": [_postmaster(stage)],
        }
        self._seconds: dict[str, float] = {}
        self._wal = 0

    async def start(self) -> None:
        """Count from now on."""
        self._wal = await self._wal_bytes()
        self._seconds = self._read()

    async def cost(self, units: int) -> dict[str, float]:
        """Since the start, for each of so many units: `cpu_us_<name>` in microseconds, and `wal_bytes`."""
        now = self._read()
        used = {f"cpu_us_{name}": (now[name] - self._seconds[name]) / units * 1e6 for name in now}
        return {**used, "wal_bytes": (await self._wal_bytes() - self._wal) / units}

    def _read(self) -> dict[str, float]:
        trees = {name: sum(map(_tree_seconds, pids)) for name, pids in self._processes.items()}
        # This process alone: all of the others are its children.
        return {**trees, "bench": time.process_time()}

    async def _wal_bytes(self) -> int:
        return int(
            await self._stage.superuser(
                "SELECT CAST(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS bigint)"
            )
        )


def _postmaster(stage: Stage) -> int:
    status = stage.postgres.folder / "data" / "postmaster.pid"
    return int(status.read_text().splitlines()[0])


def _tree_seconds(pid: int) -> float:
    """Processor seconds of a process, of its children that live, and of those that it has waited for."""
    try:
        own = _fields(pid)
        children = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    # utime, stime, cutime and cstime: fields 14 to 17 of proc(5), of which the first two are cut off.
    return sum(map(int, own[11:15])) / _TICKS + sum(_tree_seconds(int(child)) for child in children)


def _fields(pid: int) -> list[str]:
    return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
