"""Days of the outbox that are past its retention: planted, so that the shipped upkeep has to drop them under load.

Their events are published ones: their transaction is older than the relay's cursor. The days to come are taken away,
so that it has to make them, too. The product's own functions are left as they are.
"""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import asyncpg

from benchmarks.measured_city import Connection
from messaging.outbox import RETENTION_DAYS

# Ids of the past are below those that the outbox gives out.
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
    """The outbox's partitions by name, and so by day."""
    return [row["relname"] for row in await connection.fetch(_PARTITIONS)]


class Days:
    """Plants days and takes days away, as the owner. `at` is the clock of the run, in seconds."""

    def __init__(self, owner: Connection, events: int, at: Callable[[], float]) -> None:
        self._owner = owner
        self._events = events
        self._at = at
        self._xid = 0
        self._done: list[dict[str, Any]] = []
        self._planted: set[str] = set()
        self._taken: set[str] = set()

    async def prepare(self) -> None:
        """Before the relay runs: whatever is there by now was published, and the outbox gives out higher ids."""
        self._xid = await self._owner.fetchval(
            "SELECT CAST(CAST(pg_current_xact_id() AS text) AS bigint)"
        )
        await self._owner.execute(f"SELECT setval('outbox_id_seq', {_FIRST_ID})")
        await self._owner.execute("UPDATE outbox_cursor SET prev = pg_current_snapshot()")

    async def plant(self) -> str:
        """One more day past retention, full of published events; its partition's name."""
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
        self._note("planted", part)
        return part

    async def take_away(self, count: int) -> list[str]:
        """Take away the last of the days to come; the names of their partitions."""
        coming = [
            each for each in await partitions(self._owner) if each > _part(_today() + timedelta(1))
        ]
        taken = coming[-count:] if count else []
        for part in taken:
            self._taken.add(part)
            await self._lock_briefly(f"DROP TABLE {part}")
            self._note("taken away", part)
        return taken

    def rotation(self, seen: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """What we did, and what the product did of all that was seen: `created` and `dropped`."""
        ours = {("new", part) for part in self._planted} | {("gone", part) for part in self._taken}
        names = {"new": "created", "gone": "dropped"}
        theirs = [
            {**each, "what": names[each["what"]]}
            for each in seen
            if (each["what"], each["partition"]) not in ours
        ]
        return sorted(self._done + theirs, key=lambda each: float(each["at_seconds"]))

    def _note(self, what: str, part: str) -> None:
        self._done.append({"at_seconds": round(self._at(), 1), "what": what, "partition": part})

    async def _lock_briefly(self, statement: str) -> None:
        # As the product does it: whoever waits for the outbox's lock makes writers wait, so not for long.
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
    """What became of the partitions since we last looked."""
    return [
        {"at_seconds": round(at_seconds, 1), "what": what, "partition": part}
        for what, parts in (("gone", set(before) - set(now)), ("new", set(now) - set(before)))
        for part in sorted(parts)
    ]


def _part(day: date) -> str:
    return f"outbox_p{day:%Y%m%d}"


def _today() -> date:
    return datetime.now(UTC).date()
