"""Reading the outbox: every row exactly once per cursor, and a key's rows in the order in which they were committed.

Two snapshots bound a window: the rows that `cur` sees and `prev` does not. This set never changes again, and in the
order of ids it is right for each key, because a key's ids are drawn under the lock of its row. A cursor `id > last`
loses rows that commit late; an order by transaction id puts a transaction that waited for a lock before the one that
held it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg

# A wave costs a query and a request to Kafka; at this size both are negligible.
PAGE_ROWS = 2_000
# The most bytes of a page in memory, for messages near the largest size.
PAGE_BYTES = 8_000_000
# Windows up to this size are sorted again for each page; larger ones (catching up) are walked along the primary key.
SMALL_WINDOW_ROWS = 10_000

Row = Mapping[str, Any]  # an asyncpg.Record


@dataclass(frozen=True, slots=True)
class Position:
    """The relay's position: all rows that `prev` sees, and in the window (prev, cur) the ids up to `last_id`."""

    prev: str
    cur: str | None
    last_id: int


@dataclass(frozen=True, slots=True)
class OutboxPage:
    """Some rows of a window, in the order of sending; `end` is the position when all of them are published."""

    rows: Sequence[Row]
    window: Position
    end: Position


class Reader:
    """Reads page after page from a position on, opening window after window."""

    def __init__(self, connection: "asyncpg.Connection[Any]", position: Position) -> None:
        self._connection = connection
        self._at = position
        # The highest id of a large window that is being walked; None for a small one.
        self._walk_to: int | None = None
        self._stride = 2 * PAGE_ROWS

    async def read(self) -> OutboxPage:
        """Return the next page; it has no rows when nothing new is committed."""
        while True:
            resumed = self._at.cur is not None
            page = await self._read()
            if page.rows or not resumed:
                return page
            # The end of a window says nothing about rows that were committed since it was opened.

    async def _read(self) -> OutboxPage:
        at = self._at
        if at.cur is None:
            cur = await self._connection.fetchval("SELECT pg_current_snapshot()::text")
            at = Position(at.prev, str(cur), 0)
            self._walk_to = None
        if at.cur == at.prev:
            self._at = Position(at.prev, None, 0)
            return OutboxPage([], at, self._at)
        rows, more = await (
            self._read_sorted(at) if self._walk_to is None else self._read_walked(at)
        )
        assert at.cur is not None
        self._at = Position(at.prev, at.cur, rows[-1]["id"]) if more else Position(at.cur, None, 0)
        if more and self._walk_to is None:
            await self._walk_if_large(self._at)
        return OutboxPage(rows, at, self._at)

    async def _read_sorted(self, at: Position) -> tuple[Sequence[Row], bool]:
        """Return a page of a small window, found by transaction id, and True when there is more."""
        rows = await self._connection.fetch(
            _SORTED, *_bounds(at), at.cur, at.last_id, PAGE_ROWS, PAGE_BYTES
        )
        return rows, _is_full(rows)

    async def _walk_if_large(self, at: Position) -> None:
        # The page is full, so count the rest: sorting a large window for each page would be quadratic.
        rest = await self._connection.fetchrow(_SIZE, *_bounds(at), at.cur, at.last_id)
        if rest["rows"] > SMALL_WINDOW_ROWS:
            self._walk_to = rest["highest"]

    async def _read_walked(self, at: Position) -> tuple[Sequence[Row], bool]:
        """Return a page of a large window, found along the primary key, and True when there is more.

        Each query is bounded by ids, so that no plan can make it look at the whole table.
        """
        assert self._walk_to is not None
        low = at.last_id
        while low < self._walk_to:
            high = min(low + self._stride, self._walk_to)
            rows = await self._connection.fetch(
                _WALKED, at.prev, at.cur, low, high, PAGE_ROWS, PAGE_BYTES
            )
            full = _is_full(rows)
            # Long ranges without rows of the window are crossed in growing steps.
            self._stride = 2 * PAGE_ROWS if full else min(self._stride * 2, 1_000_000)
            if rows:
                return rows, full or high < self._walk_to
            low = high
        return [], False


def _is_full(rows: Sequence[Row]) -> bool:
    return len(rows) == PAGE_ROWS or sum(row["bytes"] for row in rows) >= PAGE_BYTES


def _bounds(at: Position) -> tuple[str, str, list[str]]:
    """Return the first transaction id after prev, the first after cur, and the ids that were running when prev was
    taken.

    The window is the part of them that cur sees. Kept apart like this, a transaction that runs for hours costs one
    probe of the index; a range from prev's xmin would read all rows since its begin again and again.
    """
    assert at.cur is not None
    _, after_prev, running = at.prev.split(":")
    return after_prev, at.cur.split(":")[1], running.split(",") if running else []


# Values are passed as text: asyncpg knows neither xid8 nor pg_snapshot.
_IN_WINDOW = """
    (xid >= $1::text::xid8 AND xid < $2::text::xid8 OR xid = ANY($3::text[]::xid8[]))
    AND pg_visible_in_snapshot(xid, $4::text::pg_snapshot) AND id > $5
"""

_PAGE = """
    SELECT id, event_id, topic, key, sequence, type, payload, traceparent, correlation_id, raw, signature, created_at,
        bytes
    FROM (
        SELECT *, sum(bytes) OVER (ORDER BY id ROWS UNBOUNDED PRECEDING) AS running FROM (
            SELECT *, coalesce(octet_length(payload), 0) + coalesce(octet_length(raw), 0) AS bytes
            FROM outbox WHERE {where} ORDER BY {order} LIMIT {rows}
        ) AS page
    ) AS measured
    WHERE running - bytes < {most}
"""

# `id + 0`: with an order that the primary key can serve, the planner would read the table from its start.
_SORTED = _PAGE.format(where=_IN_WINDOW, order="id + 0", rows="$6", most="$7")

_WALKED = _PAGE.format(
    where="""
        id > $3 AND id <= $4 AND pg_visible_in_snapshot(xid, $2::text::pg_snapshot)
        AND NOT pg_visible_in_snapshot(xid, $1::text::pg_snapshot)
    """,
    order="id",
    rows="$5",
    most="$6",
)

_SIZE = f"SELECT count(*) AS rows, max(id) AS highest FROM outbox WHERE {_IN_WINDOW}"  # noqa: S608
