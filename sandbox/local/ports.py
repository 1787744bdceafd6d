"""Free ports, and waiting until a process listens."""

import socket
import time
from collections.abc import Callable

HOST = "127.0.0.1"


class NotReadyError(Exception):
    """A part of the city did not become ready in time; the text says where to look."""


def free_port() -> int:
    """Return a port on which no process listens now."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
        return port


def listens(port: int) -> bool:
    """Return True when a process accepts connections on this port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((HOST, port)) == 0


def wait_until(
    ready: Callable[[], bool], what: str, seconds: float, alive: Callable[[], bool] = lambda: True
) -> None:
    """Wait until `ready`; raises NotReadyError when time is up or it is no longer alive."""
    deadline = time.monotonic() + seconds
    while not ready():
        if not alive():
            raise NotReadyError(f"{what} stopped while starting")
        if time.monotonic() > deadline:
            raise NotReadyError(f"{what} was not ready after {seconds:.0f} s")
        time.sleep(0.05)
