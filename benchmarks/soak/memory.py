"""What memory processes take, as the kernel counts it along, so that to look costs nothing.

The proportional share (PSS) would count what they share once, but has to walk every page: with 4 GB of shared buffers
and twenty sessions that is a second of the kernel's time at each look, and payments waited for it.
"""

from collections.abc import Iterable
from pathlib import Path

from benchmarks.cost import tree

_MB = 1024 / 1e6


def memory(pids: Iterable[int]) -> dict[str, float]:
    """Of these processes and all of their children, in MB: `""` what is each one's own, and `"_shared"`.

    PostgreSQL's shared buffers count as soon as a process has touched them, so that part grows up to their size.
    """
    found = [_kilobytes(each) for pid in pids for each in tree(pid)]
    own = sum(each.get("RssAnon:", 0) for each in found)
    shared = max((each.get("RssShmem:", 0) for each in found), default=0)
    return {"": own * _MB, "_shared": shared * _MB}


def _kilobytes(pid: int) -> dict[str, int]:
    try:
        lines = (Path("/proc") / str(pid) / "status").read_text().splitlines()
    except OSError:
        return {}
    words = [line.split() for line in lines if line.startswith("Rss")]
    return {each[0]: int(each[1]) for each in words}
