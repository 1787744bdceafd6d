"""Days of the outbox past its retention, planted so that the shipped upkeep has to drop them under load.

Their events count as published, because their transaction is older than the relay's cursor. The partitions of days to
come are removed, so that upkeep has to create them, too. No function of the product is changed for that.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from benchmarks.measured_city import Connection
from messaging.outbox import RETENTION_DAYS

# Planted ids are below this, the ids of the run above.
_FIRST_ID = 1_000_000_000
_TRIES = 20

_MAKE = "CREATE TABLE {part} (LIKE outbox INCLUDING ALL)"
_FILL = """
    INSERT INTO {part} (id, xid, created_at, event_id, sequence, topic, key, type, payload)
    SELECT $1 + n, CAST(CAST(CAST($2 AS bigint) AS text) AS xid8),
        CAST($3 AS timestamptz) + n * interval '100 milliseconds', uuidv7(), 1, 4,
        CAST(gen_random_uuid() AS text), 'PaymentSucceeded.v1', CAST(repeat('x', 200) AS bytea)
    FROM generate_series(CAST(1 AS bigint), $4) AS n
"""
_ATTACH = "ALTER TABLE outbox ATTACH PARTITION {part} FOR VALUES FROM ('{day} 00:00+00') TO ('{next} 00:00+00')"
_PARTITIONS = """
    SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
    WHERE i.inhparent = CAST('billing.outbox' AS regclass) ORDER BY 1
"""


async def partitions(connection: Connection) -> list[str]:
    """Return the outbox's partitions, sorted by name and so by day."""
    return [row["relname"] for row in await connection.fetch(_PARTITIONS)]


class Days:
    """Plants old days and removes coming ones, as the owner. `at` is the clock of the run, in seconds."""

    def __init__(self, owner: Connection, events: int, at: Callable[[], float]) -> None:
        self._owner = owner
        self._events = events
        self._at = at
        self._xid = 0
        self._done: list[dict[str, Any]] = []
        self._planted: set[str] = set()
        self._removed: set[str] = set()

    async def prepare(self) -> None:
        """Mark all present events as published and reserve low ids for planting; call it before the relay runs."""
        self._xid = await self._owner.fetchval(
            "SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
        )
        await self._owner.execute(f"SELECT setval('outbox_id_seq', {_FIRST_ID})")
        await self._owner.execute("UPDATE outbox_cursor SET prev = pg_current_snapshot()")

    async def plant(self) -> str:
        """Add one more day past retention, full of published events; return the name of its partition."""
        day = _today() - timedelta(days=RETENTION_DAYS + 1 + len(self._planted))
        part = _part(day)
        first = self._events * len(self._planted)
        began = datetime.combine(day, datetime.min.time(), UTC)
        async with self._owner.transaction():
            await self._owner.execute(_MAKE.format(part=part))
            await self._owner.execute(
                _FILL.format(part=part), first, self._xid, began, self._events
            )
        await self._owner.execute(f"ANALYZE {part}")
        attach = _ATTACH.format(part=part, day=day, next=day + timedelta(days=1))
        await self._lock_briefly(attach)
        self._planted.add(part)
        self._record("planted", part)
        return part

    async def remove_coming(self, count: int) -> list[str]:
        """Drop the partitions of the last of the coming days; return their names."""
        coming = [
            each for each in await partitions(self._owner) if each > _part(_today() + timedelta(1))
        ]
        removed = coming[-count:] if count else []
        for part in removed:
            self._removed.add(part)
            await self._lock_briefly(f"DROP TABLE {part}")
            self._record("taken away", part)
        return removed

    def rotation(self, seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return our changes and, of the changes seen, those that the product made: `created` and `dropped`."""
        ours = {("new", part) for part in self._planted} | {
            ("gone", part) for part in self._removed
        }
        labels = {"new": "created", "gone": "dropped"}
        theirs = [
            {**change, "what": labels[change["what"]]}
            for change in seen
            if (change["what"], change["partition"]) not in ours
        ]
        return sorted(self._done + theirs, key=lambda change: float(change["at_seconds"]))

    def _record(self, what: str, part: str) -> None:
        self._done.append({"at_seconds": round(self._at(), 1), "what": what, "partition": part})

    async def _lock_briefly(self, statement: str) -> None:
        # As in the product: writers queue behind a statement that waits for the outbox's lock, so it waits briefly.
        await self._owner.execute("SET lock_timeout = '300ms'")
        for attempt in range(_TRIES):
            try:
                await self._owner.execute(statement)
                return
            except asyncpg.LockNotAvailableError:
                if attempt == _TRIES - 1:
                    raise
                await asyncio.sleep(5.0)


def changes(before: list[str], now: list[str], at_seconds: float) -> list[dict[str, Any]]:
    """Return the partitions that are gone or new since the last look."""
    return [
        {"at_seconds": round(at_seconds, 1), "what": change, "partition": part}
        for change, parts in (("gone", set(before) - set(now)), ("new", set(now) - set(before)))
        for part in sorted(parts)
    ]


def _part(day: date) -> str:
    return f"outbox_p{day:%Y%m%d}"


def _today() -> date:
    return datetime.now(UTC).date()
