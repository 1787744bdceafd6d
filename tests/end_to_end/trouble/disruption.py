"""Disruptions of a city: servers are killed, processes are frozen in the middle of their work."""

import asyncio
import os
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sandbox.local_city import LocalCity
from tests.end_to_end import city_books

# Every process that moves money forward.
FREEZABLE = ("worker", "timer", "relay")
# A transaction whose process is frozen stays idle for longer than any healthy one.
STUCK_SECONDS = 0.15
MOST_TRIES = 150
_STUCK = f"""
    SELECT count(*) FROM pg_stat_activity
    WHERE usename = current_user AND state = 'idle in transaction' AND pid <> pg_backend_pid()
        AND state_change < now() - interval '{STUCK_SECONDS} s'
"""


class Disruption:
    """Kills and freezes parts of one city at random times, and counts its disruptions."""

    def __init__(self, city: LocalCity, chance: random.Random) -> None:
        assert city.postgres is not None, "the city must have a PostgreSQL of its own"
        assert city.kafka is not None, "the city must have a Kafka of its own"
        self._city = city
        self._postgres, self._kafka = city.postgres, city.kafka
        self._chance = chance
        self.counts: Counter[str] = Counter()

    async def run(self, disruptions: list[str], pause_seconds: float) -> None:
        """Run these disruptions one after the other, with a pause of about this length before each."""
        for name in disruptions:
            await asyncio.sleep(self._chance.uniform(0.3, 1.7) * pause_seconds)
            await getattr(self, name)()
            self.counts[name] += 1
            self._city.revive()

    async def kill_postgres(self) -> None:
        """Kill the postmaster with SIGKILL, and start it on the same data a moment later."""
        self._postgres.kill()
        await asyncio.sleep(self._chance.uniform(0.0, 1.5))
        self._postgres.launch()
        await asyncio.to_thread(self._postgres.wait_ready)

    async def kill_kafka(self) -> None:
        """Kill the broker with SIGKILL, and start it on the same data."""
        self._kafka.kill()
        self._kafka.launch()
        await asyncio.to_thread(self._kafka.wait_ready)

    async def stop_kafka(self) -> None:
        """Freeze the broker for some seconds: its connections stay open, and it sends no responses."""
        async with self._frozen(self._kafka.pid):
            await asyncio.sleep(self._chance.uniform(4, 7))

    async def freeze_process(self) -> None:
        """Freeze a process for some seconds."""
        name = self._chance.choice(FREEZABLE)
        async with self._frozen(self._city.processes[name].pid):
            await asyncio.sleep(self._chance.uniform(2, 6))
        self.counts[f"froze {name}"] += 1

    async def freeze_in_transaction(self) -> None:
        """Freeze the worker with a transaction open: freeze it repeatedly until one is seen."""
        pid = self._city.processes["worker"].pid
        for _ in range(MOST_TRIES):
            async with self._frozen(pid):
                await asyncio.sleep(STUCK_SECONDS + 0.05)
                if (await city_books.query(self._city, _STUCK))[0]["count"]:
                    await asyncio.sleep(self._chance.uniform(2, 6))
                    self.counts["froze inside a transaction"] += 1
                    return
            await asyncio.sleep(self._chance.uniform(0.0, 0.05))

    @asynccontextmanager
    async def _frozen(self, pid: int) -> AsyncIterator[None]:
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)
