"""Lists for operators: errands, and how many wait at each institution."""

from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# The errands as a service may read them in its own SQL.
SHOWN = "(SELECT kind, subject, institution, leg, tries, unknown_since, held, due_at FROM errands)"
# After its lease an errand counts as waiting: its process may still work on it, but any process may claim it.
_BACKLOGS = text("""
    SELECT institution, coalesce(e.waiting, 0), coalesce(e.under_way, 0), coalesce(e.unknown, 0), e.oldest_seconds,
        p.paused_at, p.note
    FROM (
        SELECT institution, count(*) FILTER (WHERE NOT held OR due_at <= now()) AS waiting,
            count(*) FILTER (WHERE held AND due_at > now()) AS under_way, count(unknown_since) AS unknown,
            CAST(extract(epoch FROM now() - min(due_at) FILTER (WHERE due_at <= now())) AS float8) AS oldest_seconds
        FROM errands GROUP BY institution) e
    FULL JOIN paused_institutions p USING (institution) ORDER BY institution
""")
_LIST = text("""
    SELECT kind, subject, institution, leg, leg_since, tries, attempt, contested, unknown_since, sent_at,
        held AND due_at > now() AS under_way, due_at
    FROM errands
    WHERE institution = coalesce(CAST(:institution AS text), institution)
      AND kind = coalesce(CAST(:kind AS text), kind)
    ORDER BY due_at, kind, subject LIMIT :limit
""")


class Backlog(NamedTuple):
    """The errands at one institution.

    `waiting`: held by no process, due or not. `unknown`: their last call had no answer, under way or not.
    `oldest_seconds`: how long the first due errand has been due.
    """

    institution: str
    waiting: int
    under_way: int
    unknown: int
    oldest_seconds: float | None
    paused_at: datetime | None
    note: str | None


class Listed(NamedTuple):
    """An errand as operators see it; the columns are explained in tables.py.

    `under_way`: a process has it, until `due_at` at most.
    """

    kind: str
    subject: UUID
    institution: str
    leg: str
    leg_since: datetime
    tries: int
    attempt: int
    contested: bool
    unknown_since: datetime | None
    sent_at: datetime | None
    under_way: bool
    due_at: datetime


async def backlogs(connection: AsyncConnection) -> list[Backlog]:
    """Return the institutions that have errands or are paused, by name."""
    return [Backlog(*row) for row in await connection.execute(_BACKLOGS)]


async def list_errands(
    connection: AsyncConnection,
    *,
    institution: str | None = None,
    kind: str | None = None,
    limit: int = 200,
) -> list[Listed]:
    """Return errands, of one institution or kind where given, in the order in which they are due."""
    values = {"institution": institution, "kind": kind, "limit": limit}
    return [Listed(*row) for row in await connection.execute(_LIST, values)]
