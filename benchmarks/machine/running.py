"""Meterhall's own processes, as they are shipped, for the time of one measurement."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager

from kafka.errors import CoordinatorNotAvailableError

from benchmarks.machine.cost import Meter
from benchmarks.machine.processes import pids
from benchmarks.machine.stage import Stage
from benchmarks.measured_city import MeasuredCity
from messaging.control import admin_client
from sandbox.local.local_process import LocalProcess

WORKERS = 2  # one per core
SETTLE_SECONDS = 60.0


@asynccontextmanager
async def running(processes: Sequence[LocalProcess]) -> AsyncIterator[None]:
    """Start them all, and stop them afterwards."""
    try:
        for process in processes:
            process.launch()
        for process in processes:
            await asyncio.to_thread(process.wait_ready)
        yield
    finally:
        for process in processes:
            await asyncio.to_thread(process.stop)


def workers(
    stage: Stage, city: MeasuredCity, environment: Mapping[str, str] | None = None
) -> list[LocalProcess]:
    """The shipped workers of billing."""
    told = {"METERHALL_DATABASE_URL": city.billing_url, **(environment or {})}
    return [
        stage.process(f"worker-{number}", "services.billing.worker", told)
        for number in range(WORKERS)
    ]


def relay(stage: Stage, city: MeasuredCity) -> LocalProcess:
    """The shipped relay of billing."""
    told = {"METERHALL_DATABASE_URL": city.billing_url}
    return stage.process("relay", "services.billing.relay", told)


def meter(stage: Stage, **processes: Sequence[LocalProcess]) -> Meter:
    """A meter of these processes, PostgreSQL, Kafka and this process."""
    return Meter(stage, pids(processes))


async def settled(stage: Stage, group: str, members: int) -> None:
    """Wait until the consumer group has so many members, and each has its partitions."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not await asyncio.to_thread(_is_settled, stage.kafka.bootstrap, group, members):
        if time.monotonic() > deadline:
            raise TimeoutError(f"the group {group} has not come to rest")
        await asyncio.sleep(0.2)


@contextmanager
def held(processes: Sequence[LocalProcess]) -> Iterator[None]:
    """Stop them, as if time stood still for them; for less than a consumer's session, or they lose their partitions."""
    for each in processes:
        os.kill(each.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for each in processes:
            os.kill(each.pid, signal.SIGCONT)


def _is_settled(bootstrap: str, group: str, members: int) -> bool:
    try:
        with admin_client(bootstrap) as client:
            found = client.describe_groups([group])[group]
    except CoordinatorNotAvailableError:
        return False  # the very first group: Kafka is still making the topic in which it keeps the offsets
    return found["group_state"] == "Stable" and len(found["members"]) == members
