"""run_process: its event loop, its garbage collector, and how a process ends on an error."""

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


def test_the_loop_is_uvloop_and_imported_objects_are_frozen() -> None:
    pytest.importorskip("uvloop")
    process = _run("")
    assert (process.returncode, process.stdout.split()) == (0, ["uvloop", "50000", "True"])


def test_garbage_in_cycles_is_still_collected() -> None:
    process = _run(
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
    assert process.stdout.split()[-1] == "collected"


def test_an_error_ends_the_process_with_its_traceback() -> None:
    process = _run('raise RuntimeError("no work")')
    assert process.returncode == 1
    assert "RuntimeError: no work" in process.stderr
