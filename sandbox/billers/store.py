"""What the billers remember, in SQLite: accounts, bills, what was applied under which serial, and the book.

Requests run one after the other in one open transaction. An answer leaves only after `durable`, which commits for all
who wait at that moment. With the write-ahead log, kill -9 loses nothing that was answered. Times are Unix seconds.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

# The billers' clock on the wall: China has one time zone and no summer time.
CHINA = timezone(timedelta(hours=8))

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS accounts (
  biller TEXT NOT NULL, account_number TEXT NOT NULL, position INTEGER NOT NULL,
  PRIMARY KEY (biller, account_number)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS bills (
  biller TEXT NOT NULL, bill_number TEXT NOT NULL, account_number TEXT NOT NULL, period TEXT NOT NULL,
  amount_minor INTEGER NOT NULL, rule TEXT NOT NULL, min_minor INTEGER, max_minor INTEGER, multiple_minor INTEGER,
  due_on TEXT, expires_at INTEGER NOT NULL, paid_by TEXT, PRIMARY KEY (biller, bill_number)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS bills_owed ON bills (biller, account_number) WHERE paid_by IS NULL;
-- A serial that was unapplied before it was ever applied has no bill: it is blocked.
CREATE TABLE IF NOT EXISTS serials (
  biller TEXT NOT NULL, serial TEXT NOT NULL, bill_number TEXT, amount_minor INTEGER, reference TEXT,
  applied_at INTEGER, unapplied_at INTEGER, PRIMARY KEY (biller, serial)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS book (
  number INTEGER PRIMARY KEY, biller TEXT NOT NULL, day TEXT NOT NULL, kind TEXT NOT NULL, serial TEXT NOT NULL,
  bill_number TEXT NOT NULL, amount_minor INTEGER NOT NULL, at INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS book_day ON book (biller, day);
"""


class Store:
    """One directory, one process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(directory / "billers.sqlite3", isolation_level=None)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = NORMAL")
        self._connection.execute("PRAGMA cache_size = -65536")
        self._connection.executescript(_SCHEMA)
        self._open = False
        self._waiting: asyncio.Future[None] | None = None
        self._clock_offset_seconds = int(self.setting("clock_offset_seconds", "0"))

    def close(self) -> None:
        """Commit and let go of the files."""
        self.commit()
        self._connection.close()

    def now(self) -> int:
        """The billers' own time, which can be put forward."""
        return int(time.time()) + self._clock_offset_seconds

    def advance_clock(self, seconds: int) -> int:
        """Put the clock forward, for good; the new time."""
        self._clock_offset_seconds += seconds
        self.set_setting("clock_offset_seconds", str(self._clock_offset_seconds))
        return self.now()

    def execute(self, sql: str, *values: Any) -> None:
        """One statement that changes something, in the group's transaction."""
        self._begin()
        self._connection.execute(sql, values)

    def execute_all(self, sql: str, rows: Iterable[Sequence[Any]]) -> None:
        """The statement for each row."""
        self._begin()
        self._connection.executemany(sql, rows)

    def query(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a question; it sees what was changed and is not committed yet."""
        return self._connection.execute(sql, values).fetchall()

    def commit(self) -> None:
        """Commit what is open, and tell all who wait for it."""
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


def day_of(at: int) -> str:
    """The calendar day in China, YYYYMMDD."""
    return f"{datetime.fromtimestamp(at, CHINA):%Y%m%d}"


def iso(at: int) -> str:
    """The moment on a clock in China, 2026-11-23T09:30:00+08:00."""
    return datetime.fromtimestamp(at, CHINA).isoformat()
