"""What the mail box remembers: each mail as it came, in SQLite, committed in groups.

A mail is acknowledged after `durable`, which commits for all who wait at that moment; kill -9 loses nothing that was
acknowledged.
"""

import asyncio
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS mails (
  number INTEGER PRIMARY KEY AUTOINCREMENT, received_at REAL NOT NULL, sender TEXT NOT NULL, recipient TEXT NOT NULL,
  raw BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS mails_recipient ON mails (recipient, number);
"""


@dataclass(frozen=True, slots=True)
class Stored:
    """A mail as it came, for one recipient of its envelope. `received_at` is Unix seconds."""

    number: int
    received_at: float
    sender: str
    recipient: str
    raw: bytes


class Store:
    """One directory, one process, one event loop."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(directory / "mailbox.sqlite3", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.executescript(_SCHEMA)
        self._open = False
        self._waiting: asyncio.Future[None] | None = None

    def close(self) -> None:
        """Commit and let go of the files."""
        self._commit()
        self._connection.close()

    def add(self, sender: str, recipient: str, raw: bytes) -> None:
        """Keep a mail."""
        self._execute(
            "INSERT INTO mails (received_at, sender, recipient, raw) VALUES (?, ?, ?, ?)",
            time.time(),
            sender,
            recipient,
            raw,
        )

    def find(self, number: int) -> Stored | None:
        """One mail."""
        rows = self._query("SELECT * FROM mails WHERE number = ?", number)
        return Stored(*rows[0]) if rows else None

    def newest(self, recipient: str | None, limit: int) -> tuple[int, list[Stored]]:
        """How many mails there are (for this recipient), and the newest of them."""
        where, values = ("WHERE recipient = ?", [recipient]) if recipient else ("", [])
        count = self._query(f"SELECT count(*) FROM mails {where}", *values)[0][0]  # noqa: S608 - fixed words
        rows = self._query(
            f"SELECT * FROM mails {where} ORDER BY number DESC LIMIT ?",  # noqa: S608 - fixed words
            *values,
            limit,
        )
        return count, [Stored(*row) for row in rows]

    def clear(self) -> int:
        """Throw all mails away; how many there were. Their numbers are not used again."""
        return self._execute("DELETE FROM mails").rowcount

    def setting(self, name: str, default: str) -> str:
        """A remembered setting."""
        found = self._query("SELECT value FROM settings WHERE name = ?", name)
        return str(found[0][0]) if found else default

    def set_setting(self, name: str, value: str) -> None:
        """Remember a setting."""
        self._execute("INSERT OR REPLACE INTO settings VALUES (?, ?)", name, value)

    async def durable(self) -> None:
        """Returns when everything that this caller has changed is committed."""
        if not self._open:
            return
        if self._waiting is None:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            # After the other mails that are ready in this turn of the loop.
            loop.call_soon(self._commit)
        await asyncio.shield(self._waiting)

    def _commit(self) -> None:
        waiting, self._waiting = self._waiting, None
        try:
            if self._open:
                self._connection.execute("COMMIT")
                self._open = False
        except sqlite3.Error as error:
            # A full disk, as a rule. Nobody is told that it was done.
            if waiting is None:
                raise
            waiting.set_exception(error)
            return
        if waiting is not None:
            waiting.set_result(None)

    def _execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        if not self._open:
            self._connection.execute("BEGIN IMMEDIATE")
            self._open = True
        return self._connection.execute(sql, values)

    def _query(self, sql: str, *values: Any) -> list[Any]:
        return self._connection.execute(sql, values).fetchall()
