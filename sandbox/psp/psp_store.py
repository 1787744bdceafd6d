"""The PSP's storage: objects as JSON in SQLite, with the tables of its keys, its book and its webhooks."""

from pathlib import Path
from typing import Any

from pydantic_core import from_json, to_json

from sandbox.stand_in.durable_store import DurableStore

Object = dict[str, Any]

_SCHEMA = """
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


class PspStore(DurableStore):
    """The objects, by kind and id."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "psp", _SCHEMA)

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
