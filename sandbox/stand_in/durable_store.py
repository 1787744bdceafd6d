"""The durable storage of a part of the sandbox: SQLite, changed in memory speed and committed in groups.

Requests run one after the other in one open transaction. An answer leaves only after `durable`, which commits for all
who wait at that moment: at load, dozens of requests share one commit. With the write-ahead log a commit is in the
kernel's hands when it returns, so kill -9 loses nothing that was answered.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
"""


class DurableStore:
    """One directory, one process, one event loop. `name` is the file's, `schema` what it has beside the settings."""

    def __init__(self, directory: Path, name: str, schema: str) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(directory / f"{name}.sqlite3", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA cache_size = -65536")
        self._connection.executescript(_SCHEMA + schema)
        self._open = False
        self._waiting: asyncio.Future[None] | None = None
        self._clock_offset_seconds = int(self.setting("clock_offset_seconds", "0"))

    def close(self) -> None:
        """Commit and let go of the files."""
        self.commit()
        self._connection.close()

    def now(self) -> int:
        """This part's own time in Unix seconds, which can be put forward."""
        return int(time.time()) + self._clock_offset_seconds

    def advance_clock(self, seconds: int) -> int:
        """Put the clock forward, for good; the new time."""
        self._clock_offset_seconds += seconds
        self.set_setting("clock_offset_seconds", str(self._clock_offset_seconds))
        return self.now()

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """One statement that changes something, in the group's transaction."""
        self._begin()
        return self._connection.execute(sql, values)

    def execute_all(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """The statement for each row."""
        self._begin()
        self._connection.executemany(sql, rows)

    def query(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a question; it sees what was changed and is not committed yet."""
        return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """Undo all changes made inside when an error leaves the block."""
        self.execute("SAVEPOINT request")
        try:
            yield
        except BaseException:
            self.execute("ROLLBACK TO request")
            raise
        finally:
            self.execute("RELEASE request")

    def commit(self) -> None:
        """Commit what is open, and tell all who wait for it."""
        waiting, self._waiting = self._waiting, None
        try:
            if self._open:
                self._connection.execute("COMMIT")
                self._open = False
        except sqlite3.Error as error:
            # Usually a full disk. The caller must not get a success.
            if waiting is None:
                raise
            waiting.set_exception(error)
            return
        if waiting is not None:
            waiting.set_result(None)

    async def durable(self) -> None:
        """Returns when everything that this caller may have seen or changed is committed."""
        if not self._open:
            return
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            # After the other requests that are ready in this turn of the loop have run.
            loop.call_soon(self.commit)
        await asyncio.shield(self._waiting)

    def setting(self, name: str, default: str) -> str:
        """A remembered setting."""
        found = self.query("SELECT value FROM settings WHERE name = ?", name)
        return str(found[0][0]) if found else default

    def set_setting(self, name: str, value: str) -> None:
        """Remember a setting."""
        self.execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    def _begin(self) -> None:
        if not self._open:
            self._connection.execute("BEGIN IMMEDIATE")
            self._open = True
