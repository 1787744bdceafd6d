"""run_process: what the loop and the collector are like inside, and how a process ends."""

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, gc
from chassis.process import run_process

async def work():
    print(type(asyncio.get_running_loop()).__module__, gc.get_threshold()[0], gc.get_freeze_count() > 0)
    {more}

run_process(work())
"""


def _run(more: str) -> subprocess.CompletedProcess[str]:
    program = PROGRAM.format(more=more)
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, timeout=60
    )


def test_the_loop_is_fast_and_what_was_imported_is_left_alone() -> None:
    pytest.importorskip("uvloop")
    done = _run("")
    assert (done.returncode, done.stdout.split()) == (0, ["uvloop", "50000", "True"])


def test_garbage_in_cycles_is_still_collected() -> None:
    done = _run(
        """
    import weakref
    class Node: pass
    watched = []
    for _ in range(200_000):
        node = Node(); node.itself = node
        watched[:] = watched[-10:] + [weakref.ref(node)]
        if _ == 0: first = weakref.ref(node)
    print("collected" if first() is None else "kept")
    """
    )
    assert done.stdout.split()[-1] == "collected"


def test_an_error_ends_the_process_with_its_traceback() -> None:
    done = _run('raise RuntimeError("no work")')
    assert done.returncode == 1
    assert "RuntimeError: no work" in done.stderr
