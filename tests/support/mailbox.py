"""The sandbox's mail box as a real process on free ports, and the strings to pull."""

import os
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx

from sandbox.children import with_parent
from sandbox.ports import HOST, free_port, listens, wait_until


class MailBox:
    """`python -m sandbox.mailbox`, remembering in `folder`. A restart keeps the ports and all mails."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.smtp_port = free_port()
        self._port = free_port()
        self.url = f"http://{HOST}:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None
        self.http = httpx.Client(base_url=self.url, timeout=10)

    def start(self) -> "MailBox":
        """Serve, and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "sandbox.mailbox", "--state", str(self.folder)]
        command += ["--smtp-port", str(self.smtp_port), "--port", str(self._port)]
        with (self.folder / "mailbox.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=dict(os.environ), preexec_fn=with_parent()
            )
        alive = self._process
        wait_until(
            # SMTP begins once the application has started, HTTP a moment later.
            lambda: listens(self.smtp_port) and self._lives(),
            "the mail box",
            30,
            lambda: alive.poll() is None,
        )
        return self

    def stop(self) -> None:
        """End it as an operator would."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(timeout=20)
            self._process = None

    def kill(self) -> None:
        """End it as a power cut of the process would."""
        assert self._process is not None
        self._process.kill()
        self._process.wait(timeout=20)
        self._process = None

    def __enter__(self) -> "MailBox":
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self.http.close()

    def mails(self, to: str) -> list[dict[str, Any]]:
        """The mails to this address, the newest first."""
        found = self.http.get("/messages", params={"to": to, "limit": 10_000}).raise_for_status()
        messages: list[dict[str, Any]] = found.json()["messages"]
        return messages

    def fail(self, kind: str, **more: object) -> None:
        """Ask for a fault."""
        self.http.post("/sandbox/faults", json={"kind": kind, **more}).raise_for_status()

    def _lives(self) -> bool:
        try:
            return self.http.get("/livez").status_code == 200
        except httpx.HTTPError:
            return False
