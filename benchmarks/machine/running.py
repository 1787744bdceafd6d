"""The shipped processes of Meterhall, running for the time of one measurement."""

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
    """Start the processes, and stop them afterwards."""
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
    """Return billing's shipped workers, not started yet."""
    settings = {"METERHALL_DATABASE_URL": city.billing_url, **(environment or {})}
    return [
        stage.process(f"worker-{number}", "services.billing.worker", settings)
        for number in range(WORKERS)
    ]


def relay(stage: Stage, city: MeasuredCity) -> LocalProcess:
    """Return billing's shipped relay, not started yet."""
    settings = {"METERHALL_DATABASE_URL": city.billing_url}
    return stage.process("relay", "services.billing.relay", settings)


def meter(stage: Stage, **processes: Sequence[LocalProcess]) -> Meter:
    """Return a meter of these processes, PostgreSQL, Kafka and this process."""
    return Meter(stage, pids(processes))


async def wait_for_group(stage: Stage, group: str, members: int) -> None:
    """Wait until the consumer group has this number of members with partitions; raise TimeoutError if it never does."""
    deadline = time.monotonic() + SETTLE_SECONDS
    while not await asyncio.to_thread(_is_settled, stage.kafka.bootstrap, group, members):
        if time.monotonic() > deadline:
            raise TimeoutError(
                f"the consumer group {group} did not get {members} members with partitions in {SETTLE_SECONDS:.0f} s"
            )
        await asyncio.sleep(0.2)


@contextmanager
def suspended(processes: Sequence[LocalProcess]) -> Iterator[None]:
    """Freeze the processes with SIGSTOP: for less than a consumer's session timeout, or they lose their partitions."""
    for process in processes:
        os.kill(process.pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)


def _is_settled(bootstrap: str, group: str, members: int) -> bool:
    try:
        with admin_client(bootstrap) as client:
            description = client.describe_groups([group])[group]
    except CoordinatorNotAvailableError:
        return False  # the very first group: Kafka is still creating its offsets topic
    return description["group_state"] == "Stable" and len(description["members"]) == members
