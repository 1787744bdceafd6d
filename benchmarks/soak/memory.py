"""What memory processes take: their proportional share (PSS), so that what they share is counted once."""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.cost import tree

_MB = 1024 / 1e6


def memory(pids: Iterable[int]) -> dict[str, float]:
    """Of these processes and all of their children, in MB: `""` without shared memory, and `"_shared"`.

    PostgreSQL's shared buffers count as soon as a process has touched them, so that part grows up to their size.
    """
    total = shared = 0
    for each in (each for pid in pids for each in tree(pid)):
        found = _kilobytes(each)
        total += found.get("Pss:", 0)
        shared += found.get("Pss_Shmem:", 0)
    return {"": (total - shared) * _MB, "_shared": shared * _MB}


def _kilobytes(pid: int) -> dict[str, int]:
    """PSS by kind. Where another user's may not be read, what is resident has to do."""
    try:
        lines = (Path("/proc") / str(pid) / "smaps_rollup").read_text().splitlines()
    except OSError:
        return _resident(pid)
    words = [line.split() for line in lines]
    return {each[0]: int(each[1]) for each in words if each[0] in {"Pss:", "Pss_Shmem:"}}


def _resident(pid: int) -> dict[str, int]:
    try:
        lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    except OSError:
        return {}
    names = {"VmRSS:": "Pss:", "RssShmem:": "Pss_Shmem:"}
    words = [line.split() for line in lines]
    return {names[each[0]]: int(each[1]) for each in words if each and each[0] in names}
