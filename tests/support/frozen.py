"""Freeze a process in the middle of a transaction: hold a lock until it waits for it, stop it, release the lock."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

SOCKETS = Path("/proc/net/tcp")
# The process is found by the socket of the database session that waits.
needs_proc = pytest.mark.skipif(not SOCKETS.exists(), reason="needs Linux")

_WAITING = text("""
    SELECT client_port FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> pg_backend_pid()
""")


@asynccontextmanager
async def frozen_at(
    engine: AsyncEngine,
    owner_engine: AsyncEngine,
    lock: str,
    pids: Mapping[str, int],
    work: Callable[[], Awaitable[object]],
) -> AsyncIterator[str]:
    """Stop the process that waits for the owner's lock after `work` was called; yield its name in `pids`.

    The process continues at the end. `engine` has the role of the processes, because only that role sees their waits.
    """
    async with owner_engine.begin() as holder:
        await holder.execute(text(lock))
        await work()
        port = await _port_of_waiting_session(engine)
        name = next(name for name, pid in pids.items() if _has_socket(pid, port))
        os.kill(pids[name], signal.SIGSTOP)
    try:
        yield name
    finally:
        os.kill(pids[name], signal.SIGCONT)


async def seconds_until(condition: Callable[[], Awaitable[bool]], at_most: float) -> float:
    """Return the seconds until the condition holds; fail after `at_most` seconds."""
    began = time.monotonic()
    while not await condition():
        assert time.monotonic() - began < at_most, f"not within {at_most:.0f} s"
        await asyncio.sleep(0.05)
    return time.monotonic() - began


async def _port_of_waiting_session(engine: AsyncEngine) -> int:
    for _ in range(2_000):
        async with engine.connect() as connection:
            port = await connection.scalar(_WAITING)
        if port is not None:
            return int(port)
        await asyncio.sleep(0.01)
    raise AssertionError("no session waits for the lock")


def _has_socket(pid: int, port: int) -> bool:
    # A line of the file: number, local address as hex with the port, …, the inode in the tenth place.
    lines = [line.split() for line in SOCKETS.read_text().splitlines()[1:]]
    inodes = {line[9] for line in lines if int(line[1].split(":")[1], 16) == port}
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        try:
            target = str(descriptor.readlink())
        except FileNotFoundError:
            continue
        if target.removeprefix("socket:[").removesuffix("]") in inodes:
            return True
    return False
