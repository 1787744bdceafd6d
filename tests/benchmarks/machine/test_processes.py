"""Memory of processes and their children."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from benchmarks.machine.processes import memory

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="memory is read from /proc")
MB_OF_THE_CHILD = 64
# A process with a child that keeps memory, and some that both could share.
PARENT = f"""
import mmap, os, sys, time
shared = mmap.mmap(-1, 32_000_000)
for at in range(0, 32_000_000, 4096):
    shared[at] = 1
if os.fork() == 0:
    kept = b"x" * {MB_OF_THE_CHILD * 1_000_000}
    for at in range(0, 32_000_000, 4096):
        shared[at]
    print("there", flush=True)
time.sleep(60)
"""


@pytest.fixture
def parent() -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT], stdout=subprocess.PIPE, text=True, process_group=0
    ) as started:
        assert started.stdout and started.stdout.readline() == "there\n"
        yield started
        os.killpg(started.pid, signal.SIGKILL)


def test_children_count_and_shared_memory_counts_once(parent: subprocess.Popen[str]) -> None:
    found = memory([parent.pid])
    assert MB_OF_THE_CHILD < found[""] < MB_OF_THE_CHILD + 40
    assert 31 < found["_shared"] < 40


def test_a_process_that_has_ended_uses_no_memory() -> None:
    assert memory([2**22 + 1]) == {"": 0.0, "_shared": 0.0}
