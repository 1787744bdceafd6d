"""The cost of a measurement: processor time by process, from /proc, and bytes of write-ahead log."""

import time
from collections.abc import Mapping, Sequence

from benchmarks.machine.processes import processor_seconds, with_servers
from benchmarks.machine.stage import Stage


class Meter:
    """Measures processor time by name of process, PostgreSQL and Kafka included, and bytes of write-ahead log."""

    def __init__(self, stage: Stage, pids: Mapping[str, Sequence[int]]) -> None:
        self._stage = stage
        self._pids = with_servers(stage, pids)
        self._seconds: dict[str, float] = {}
        self._wal = 0

    async def start(self) -> None:
        """Start the measurement."""
        self._wal = await self._wal_bytes()
        self._seconds = self._read()

    async def cost(self, units: int) -> dict[str, float]:
        """Return the cost per unit since the start: `cpu_us_<name>` in microseconds, and `wal_bytes`."""
        now = self._read()
        used = {f"cpu_us_{name}": (now[name] - self._seconds[name]) / units * 1e6 for name in now}
        return {**used, "wal_bytes": (await self._wal_bytes() - self._wal) / units}

    def _read(self) -> dict[str, float]:
        used = {name: processor_seconds(pids) for name, pids in self._pids.items()}
        # This process without its children, which are the others.
        return {**used, "bench": time.process_time()}

    async def _wal_bytes(self) -> int:
        return int(
            await self._stage.superuser(
                "SELECT CAST(pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0') AS bigint)"
            )
        )
