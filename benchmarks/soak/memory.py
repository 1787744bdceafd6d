"""What memory processes take: their proportional share (PSS), so that what they share is counted once."""

from collections.abc import Iterable
from pathlib import Path


def megabytes(pids: Iterable[int]) -> float:
    """Of these processes and all of their children, in MB."""
    return sum(_kilobytes(each) for pid in pids for each in _tree(pid)) * 1024 / 1e6


def _tree(pid: int) -> list[int]:
    try:
        children = (Path("/proc") / str(pid) / "task" / str(pid) / "children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(each for child in children for each in _tree(int(child)))]


def _kilobytes(pid: int) -> int:
    # Where another user's PSS may not be read, what is resident has to do.
    for file, name in (("smaps_rollup", "Pss:"), ("status", "VmRSS:")):
        try:
            lines = (Path("/proc") / str(pid) / file).read_text().splitlines()
        except OSError:
            continue
        for line in lines:
            if line.startswith(name):
                return int(line.split()[1])
    return 0
