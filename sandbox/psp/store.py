"""What the PSP remembers: objects as JSON in SQLite, changed in memory speed and committed in groups.

Requests run one after the other in one open transaction. An answer leaves only after `durable`, which commits for
all who wait at that moment: at load, dozens of requests share one commit. With the write-ahead log a commit is in the
kernel's hands when it returns, so kill -9 loses nothing that was answered.
"""

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

Object = dict[str, Any]

_SCHEMA = """
CREATE TABLE IF NOT EXISTS settings (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS objects (
  seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, created INTEGER NOT NULL,
  parent TEXT, body TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS objects_kind ON objects (kind, created, seq);
CREATE INDEX IF NOT EXISTS objects_parent ON objects (parent, kind) WHERE parent IS NOT NULL;
CREATE TABLE IF NOT EXISTS metadata (
  name TEXT NOT NULL, value TEXT NOT NULL, id TEXT NOT NULL, PRIMARY KEY (name, value, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS idempotency (
  number INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, path TEXT NOT NULL, fingerprint BLOB NOT NULL,
  status INTEGER NOT NULL, body TEXT NOT NULL, created INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS book (
  kind TEXT NOT NULL, id TEXT NOT NULL, intent_id TEXT NOT NULL, amount_minor INTEGER NOT NULL,
  currency TEXT NOT NULL, status TEXT NOT NULL, at INTEGER NOT NULL, metadata TEXT NOT NULL,
  PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS marks (
  target TEXT NOT NULL, operation TEXT NOT NULL, kind TEXT NOT NULL, seconds REAL NOT NULL,
  fired INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (target, operation)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS deliveries (
  number INTEGER PRIMARY KEY, event_id TEXT NOT NULL, due REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  state TEXT NOT NULL DEFAULT 'pending', status TEXT);
CREATE INDEX IF NOT EXISTS deliveries_due ON deliveries (due) WHERE state = 'pending';
"""


def encode(value: Any) -> str:
    """JSON as the PSP writes it."""
    return to_json(value).decode()


class Store:
    """One directory, one process."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._connection = sqlite3.connect(directory / "psp.sqlite3", isolation_level=None)
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
        """The PSP's own time, which can be put forward."""
        return int(time.time()) + self._clock_offset_seconds

    def advance_clock(self, seconds: int) -> int:
        """Put the clock forward, for good; the new time."""
        self._clock_offset_seconds += seconds
        self.set_setting("clock_offset_seconds", str(self._clock_offset_seconds))
        return self.now()

    def execute(self, sql: str, *values: Any) -> sqlite3.Cursor:
        """One statement that changes something, in the group's transaction."""
        if not self._open:
            self._connection.execute("BEGIN IMMEDIATE")
            self._open = True
        return self._connection.execute(sql, values)

    def query(self, sql: str, *values: Any) -> list[Any]:
        """The rows of a question; it sees what was changed and is not committed yet."""
        return self._connection.execute(sql, values).fetchall()

    @contextmanager
    def undone_on_error(self) -> Iterator[None]:
        """What is changed inside is undone when an error leaves it."""
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

    def find(self, kind: str, id: str) -> Object | None:
        """An object, read afresh: changing it changes nothing until it is put."""
        found = self.query("SELECT body FROM objects WHERE id = ? AND kind = ?", id, kind)
        return from_json(found[0][0]) if found else None

    def put(self, kind: str, thing: Object, parent: str | None = None) -> None:
        """Insert or replace an object; its parent never changes here."""
        self.execute(
            "INSERT INTO objects (id, kind, created, parent, body) VALUES (?, ?, ?, ?, ?)"
            " ON CONFLICT (id) DO UPDATE SET body = excluded.body",
            thing["id"],
            kind,
            thing["created"],
            parent,
            encode(thing),
        )

    def page(
        self,
        kind: str,
        *,
        limit: int,
        after: str | None,
        created: dict[str, int],
        parent: str | None = None,
    ) -> tuple[list[Object], bool]:
        """Newest first, `limit` at most, and whether there is more."""
        where, values = ["kind = ?"], [kind]
        for name, operator in (("gt", ">"), ("gte", ">="), ("lt", "<"), ("lte", "<=")):
            if name in created:
                where.append(f"created {operator} ?")
                values.append(created[name])  # type: ignore[arg-type]
        if parent is not None:
            where.append("parent = ?")
            values.append(parent)
        if after is not None:
            where.append("(created, seq) < (SELECT created, seq FROM objects WHERE id = ?)")
            values.append(after)
        sql = (
            f"SELECT body FROM objects WHERE {' AND '.join(where)}"  # noqa: S608 - fixed words
            " ORDER BY created DESC, seq DESC LIMIT ?"
        )
        rows = self.query(sql, *values, limit + 1)
        return [from_json(row[0]) for row in rows[:limit]], len(rows) > limit
