"""One process of the city: started with its own environment and log, watched, and started again when it dies."""

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.local.children import with_parent
from sandbox.local.ports import NotReadyError, wait_until

READY_SECONDS = 60.0
# A process that dies so often so quickly will not get better by itself.
MOST_RESTARTS = 5
RESTART_WINDOW_SECONDS = 60.0


@dataclass
class LocalProcess:
    """`python -m <module> <arguments>`; it is ready when `ready_url` answers 200."""

    name: str
    module: str
    environment: Mapping[str, str]
    log: Path
    ready_url: str
    arguments: tuple[str, ...] = ()
    _child: subprocess.Popen[bytes] | None = field(default=None, repr=False)
    _restarts: list[float] = field(default_factory=list, repr=False)

    @property
    def pid(self) -> int:
        assert self._child is not None
        return self._child.pid

    def launch(self) -> None:
        """Start it, without waiting until it is ready."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        # The parent's own settings must not leak into the city's.
        inherited = {n: v for n, v in os.environ.items() if not n.startswith("METERHALL_")}
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                [sys.executable, "-m", self.module, *self.arguments],
                env={**inherited, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=with_parent(),
            )

    def wait_ready(self) -> None:
        """Raises NotReadyError, with the place of the log, when it does not come up."""
        try:
            wait_until(self.answers, self.name, READY_SECONDS, self.alive)
        except NotReadyError as error:
            raise NotReadyError(f"{error}; see {self.log}") from None

    def alive(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def answers(self) -> bool:
        """Return True when it is ready."""
        try:
            with urllib.request.urlopen(self.ready_url, timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def revive(self) -> bool:
        """Start it again if it has died; True when it had. Raises NotReadyError when that happens too often."""
        if self.alive():
            return False
        now = time.monotonic()
        self._restarts = [at for at in self._restarts if now - at < RESTART_WINDOW_SECONDS]
        self._restarts.append(now)
        if len(self._restarts) > MOST_RESTARTS:
            raise NotReadyError(f"{self.name} keeps dying; see {self.log}")
        self.launch()
        return True

    def stop(self, seconds: float = 30.0) -> None:
        """Ask it to stop, and wait; what does not stop in time is killed."""
        if self._child is None:
            return
        if self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM)
            try:
                self._child.wait(seconds)
            except subprocess.TimeoutExpired:
                self.kill()
        self._child = None

    def kill(self) -> None:
        """Die at once."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()
            self._child.wait(30)
