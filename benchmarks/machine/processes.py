"""Processor time and memory of processes with all of their children, from /proc.

The memory figures (RSS) are counters that the kernel keeps anyway, so reading them costs nothing. The proportional set
size (PSS) would count shared pages once, but the kernel has to walk every page for it: with 4 GB of shared buffers and
twenty sessions that takes it a second per reading, during which payments wait.
"""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmarks.machine.stage import Stage
from sandbox.local.local_process import LocalProcess

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_MB = 1024 / 1e6


def pids(processes: Mapping[str, Sequence[LocalProcess]]) -> dict[str, list[int]]:
    """Return the present pids by name; a restarted process has a new one."""
    return {name: [each.pid for each in group] for name, group in processes.items()}


def with_servers(stage: Stage, pids: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """Return these pids by name, and those of PostgreSQL and Kafka."""
    postmaster = (stage.postgres.folder / "data" / "postmaster.pid").read_text()
    kafka = (stage.kafka.folder / "kafka.pid").read_text()
    return {**pids, "postgres": [int(postmaster.splitlines()[0])], "kafka": [int(kafka)]}


def processor_seconds(pids: Iterable[int]) -> float:
    """Return the processor time that these processes have used since they started."""
    return sum(_seconds(each) for each in _trees(pids))


def memory(pids: Iterable[int]) -> dict[str, float]:
    """Return memory in MB: `""` is the sum of private memory, `"_shared"` the shared memory.

    PostgreSQL's shared buffers count as soon as a process has touched them, so that part grows up to their size.
    """
    processes = [_kilobytes(each) for each in _trees(pids)]
    own = sum(each.get("RssAnon:", 0) for each in processes)
    shared = max((each.get("RssShmem:", 0) for each in processes), default=0)
    return {"": own * _MB, "_shared": shared * _MB}


def _trees(pids: Iterable[int]) -> list[int]:
    return [each for pid in pids for each in _tree(pid)]


def _tree(pid: int) -> list[int]:
    """Return the pids of the process and all of its descendants; none if it has ended."""
    try:
        children = (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *_trees(map(int, children))]


def _seconds(pid: int) -> float:
    # utime, stime, cutime and cstime (the last two are of children that it has waited for) are fields 14 to 17 in
    # proc(5); the first two fields are cut off here.
    try:
        fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11:15])) / _TICKS


def _kilobytes(pid: int) -> dict[str, int]:
    try:
        lines = (_PROC / str(pid) / "status").read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.startswith("Rss")]
    return {each[0]: int(each[1]) for each in words}
