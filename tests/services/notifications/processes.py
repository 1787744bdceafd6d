"""Notifications' processes as an operator runs them: `python -m services.notifications.…`, told by the environment."""

import os
import signal
import subprocess
import sys
from pathlib import Path

from sandbox.local.children import with_parent


class Process:
    """One of them. Its log goes to a file in `folder`; the first line of a web process tells its address."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.name = name
        self._log = folder / f"{name}.log"
        self._environment = {**os.environ, **environment}
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> "Process":
        with self._log.open("a") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", f"services.notifications.{self.name}"],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env=self._environment,
                preexec_fn=with_parent(),
            )
        return self

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid

    def first_line(self) -> str:
        """Return the line that it prints when it listens."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def kill(self) -> None:
        """End it as a power cut of the process would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(20)

    def stop(self) -> int:
        """End it as an orchestrator does; its exit code."""
        if self._process is None or self._process.poll() is not None:
            return -1
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(40)

    def log(self) -> str:
        return self._log.read_text()
