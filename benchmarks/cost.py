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
        self._processes = {**processes, **servers(stage)}
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
        trees = {
            name: sum(_seconds(each) for pid in pids for each in tree(pid))
            for name, pids in self._processes.items()
        }
        # This process alone: all of the others are its children.
        return {**trees, "bench": time.process_time()}

    async def _wal_bytes(self) -> int:
        return int(
            await self._stage.superuser(
                "SELECT CAST(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS bigint)"
            )
        )


def servers(stage: Stage) -> dict[str, list[int]]:
    """The pids of PostgreSQL and Kafka."""
    postmaster = (stage.postgres.folder / "data" / "postmaster.pid").read_text()
    kafka = (stage.kafka.folder / "kafka.pid").read_text()
    return {"postgres": [int(postmaster.splitlines()[0])], "kafka": [int(kafka)]}


def tree(pid: int) -> list[int]:
    """The process and all of its children, if it lives."""
    try:
        children = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(each for child in children for each in tree(int(child)))]


def _seconds(pid: int) -> float:
    # Of a process and of the children that it has waited for: utime, stime, cutime and cstime are fields 14 to 17 of
    # proc(5), of which the first two are cut off here.
    try:
        fields = (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS
