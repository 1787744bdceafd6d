"""Children that do not outlive the sandbox: when it dies, even by kill -9, the kernel ends them."""

import ctypes
import signal
import sys
from collections.abc import Callable

_PR_SET_PDEATHSIG = 1


def with_parent(how: signal.Signals = signal.SIGTERM) -> Callable[[], None]:
    """Return the function that a child runs before its exec: on Linux it gets `how` when its parent dies. Elsewhere
    it does nothing, and orphans are ended at the next start.
    """

    def ask_kernel() -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, how)

    return ask_kernel
