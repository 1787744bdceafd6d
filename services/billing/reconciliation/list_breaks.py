"""List breaks for finance ops, with both sides."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_LIST = text("""
    SELECT id, source, source_id, day, type, kind, reference, theirs_minor, theirs_currency, ours_minor, ours_currency,
        transfer_id, state, opened_at, reopened_at, closed_at
    FROM breaks
    WHERE (state = 'open' OR :resolved) AND (CAST(:day AS date) IS NULL OR day = :day)
    ORDER BY day, source DESC, source_id, kind, reference, type, ordinal LIMIT :limit
""")


@dataclass(frozen=True, slots=True)
class Break:
    """One break. Amounts are signed from the source's side (tables.py), in minor units; a missing side is empty."""

    id: int
    source: str
    source_id: str
    day: date
    type: str
    kind: str
    reference: str
    theirs_minor: int | None
    theirs_currency: str | None
    ours_minor: int | None
    ours_currency: str | None
    transfer_id: UUID | None
    state: str
    opened_at: datetime
    reopened_at: datetime | None
    closed_at: datetime | None


async def list_breaks(
    connection: AsyncConnection,
    day: date | None = None,
    *,
    resolved: bool = False,
    limit: int = 1000,
) -> list[Break]:
    """Return the open breaks, of one day or of all; on request the resolved ones, too."""
    rows = await connection.execute(_LIST, {"day": day, "resolved": resolved, "limit": limit})
    return [Break(*row) for row in rows]
