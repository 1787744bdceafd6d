"""The home of a city: one folder with its state, its logs, its ports and the secrets of its first day."""

import fcntl
import json
import os
import secrets
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from sandbox.local.ports import HOST, NotReadyError, free_port, listens

# Tried first, so that a city is found where it was yesterday; whatever is taken is replaced by a free one.
PREFERRED_PORTS = {
    "web": 8080,
    "notifications": 8081,
    "psp": 8420,
    "billers": 8430,
    "mailbox": 8025,
    "smtp": 1025,
    "postgres": 5433,
    "kafka": 9094,
    "kafka_controller": 9095,
}
METRICS = (
    "worker",
    "relay",
    "timer",
    "notifications-worker",
    "notifications-sender",
    "notifications-relay",
)


class Home:
    """The folder of one city. Entering it takes the lock: one city per folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = (self.folder / "lock").open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise NotReadyError(
                f"a city is running in {self.folder}: stop it first, or choose another --home"
            ) from None
        self._lock = lock
        return self

    def __exit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        if self._lock:
            self._lock.close()

    @property
    def environment_file(self) -> Path:
        """The file with this city's environment for processes and commands, as JSON."""
        return self.folder / "environment.json"

    @cached_property
    def secrets(self) -> dict[str, str]:
        """The secrets, created once; only the owner of the folder may read them."""
        created = {
            "postgres": secrets.token_urlsafe(24),
            "owner": secrets.token_urlsafe(24),
            "billing": secrets.token_urlsafe(24),
            "notifications": secrets.token_urlsafe(24),
            "psp_api_key": f"sk_test_{secrets.token_hex(24)}",
            "psp_webhook": f"whsec_{secrets.token_hex(24)}",
            "command": secrets.token_urlsafe(32),
            "channel_webhook": f"whsec_{secrets.token_hex(24)}",
        }
        return self._kept("secrets.json", created)

    def keep_secret(self, name: str, value: str) -> None:
        """Store a secret that was created while the city was running, for example a channel's key."""
        self.secrets[name] = value
        write_private(self.folder / "secrets.json", self.secrets)

    def biller_secrets(self, biller_ids: list[str]) -> Path:
        """Return the file {biller_id: secret}, completed for these billers."""
        path = self.folder / "biller-secrets.json"
        known: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        complete = {id: known.get(id) or secrets.token_hex(16) for id in biller_ids}
        if complete != known:
            write_private(path, complete)
        return path

    @cached_property
    def ports(self) -> dict[str, int]:
        """A port for each part: yesterday's where it is free, else the preferred, else any."""
        path = self.folder / "ports.json"
        before: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
        chosen: dict[str, int] = {}
        for name in (*PREFERRED_PORTS, *(f"metrics-{each}" for each in METRICS)):
            wanted = before.get(name) or PREFERRED_PORTS.get(name) or 0
            taken = not wanted or wanted in chosen.values() or listens(wanted)
            chosen[name] = free_port() if taken else wanted
        path.write_text(json.dumps(chosen, indent=2))
        return chosen

    def url(self, part: str) -> str:
        return f"http://{HOST}:{self.ports[part]}"

    def _kept(self, name: str, made: dict[str, str]) -> dict[str, str]:
        path = self.folder / name
        if path.exists():
            kept: dict[str, str] = json.loads(path.read_text())
            made |= kept
        write_private(path, made)
        return made


def write_private(path: Path, value: Mapping[str, Any]) -> None:
    """Write JSON that only the owner may read, whole or not at all."""
    partial = path.with_suffix(".partial")
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(value, file, indent=2)
    partial.rename(path)
