"""Processes and all of their children, as /proc shows them: what they used of a processor, and the memory they take.

Memory is what the kernel counts along, so that to look costs nothing. The proportional share (PSS) would count what
they share once, but has to walk every page: with 4 GB of shared buffers and twenty sessions that is a second of the
kernel's time at each look, and payments waited for it.
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
    """The pids by name; a process that was started again has another one."""
    return {name: [each.pid for each in group] for name, group in processes.items()}


def with_servers(stage: Stage, pids: Mapping[str, Sequence[int]]) -> dict[str, Sequence[int]]:
    """These pids by name, and those of PostgreSQL and Kafka."""
    postmaster = (stage.postgres.folder / "data" / "postmaster.pid").read_text()
    kafka = (stage.kafka.folder / "kafka.pid").read_text()
    return {**pids, "postgres": [int(postmaster.splitlines()[0])], "kafka": [int(kafka)]}


def processor_seconds(pids: Iterable[int]) -> float:
    """What they have used of a processor since they began."""
    return sum(_seconds(each) for each in _trees(pids))


def memory(pids: Iterable[int]) -> dict[str, float]:
    """In MB: `""` is what each one has for itself, and `"_shared"` what they share.

    PostgreSQL's shared buffers count as soon as a process has touched them, so that part grows up to their size.
    """
    found = [_kilobytes(each) for each in _trees(pids)]
    own = sum(each.get("RssAnon:", 0) for each in found)
    shared = max((each.get("RssShmem:", 0) for each in found), default=0)
    return {"": own * _MB, "_shared": shared * _MB}


def _trees(pids: Iterable[int]) -> list[int]:
    return [each for pid in pids for each in _tree(pid)]


def _tree(pid: int) -> list[int]:
    """The process and all of its children, if it lives."""
    try:
        children = (_PROC / str(pid) / "task" / str(pid) / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *_trees(map(int, children))]


def _seconds(pid: int) -> float:
    # Of a process and of the children that it has waited for: utime, stime, cutime and cstime are fields 14 to 17 of
    # proc(5), of which the first two are cut off here.
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
