"""The sandbox's mail box as a real process on free ports, with its control endpoints. Faults fire as "kind"."""

from pathlib import Path
from typing import Any

from sandbox.local.ports import free_port
from tests.support.process import SandboxProcess


class MailBox(SandboxProcess):
    """`python -m sandbox.mailbox`, remembering in `folder`. It takes mails before it answers by HTTP."""

    def __init__(self, folder: Path) -> None:
        self.smtp_port = free_port()
        arguments = ["--state", str(folder), "--smtp-port", str(self.smtp_port)]
        super().__init__("mailbox", folder, arguments)

    def mails(self, to: str) -> list[dict[str, Any]]:
        """Return the mails to this address, the newest first."""
        listing = self.control("GET", "/messages", params={"to": to, "limit": 10_000})
        messages: list[dict[str, Any]] = listing["messages"]
        return messages

    def fail(self, kind: str, **more: object) -> None:
        """Add a fault of this kind."""
        self.control("POST", "/sandbox/faults", json={"kind": kind, **more})
