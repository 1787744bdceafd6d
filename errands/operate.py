"""Operators' actions: pause an institution, resume it, and retry errands at once.

A pause is a row, which each process reads with its next look, so a pause begins and ends everywhere within a second.
Errands in hand at that moment go on to their end.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from errands.model import Key

_PAUSE = text("""
    INSERT INTO paused_institutions AS p (institution, note) VALUES (:institution, :note)
    ON CONFLICT (institution) DO UPDATE SET note = coalesce(nullif(excluded.note, ''), p.note)
    RETURNING paused_at, note, paused_at = now() AS is_new
""")
_RESUME = text(
    "DELETE FROM paused_institutions WHERE institution = :institution RETURNING paused_at"
)
# SKIP LOCKED: a locked row is being claimed or recorded, and waiting for it could deadlock.
_RETRY = """
    WITH found AS MATERIALIZED (
        SELECT e.kind, e.subject, e.institution, e.held AND e.due_at > now() AS under_way, e.due_at <= now() AS due
        FROM errands e WHERE {which}),
    free AS MATERIALIZED (
        SELECT e.kind, e.subject FROM errands e JOIN found f ON e.kind = f.kind AND e.subject = f.subject
        WHERE NOT e.held AND e.due_at > now() FOR UPDATE OF e SKIP LOCKED),
    changed AS (
        UPDATE errands e SET due_at = now() FROM free f WHERE e.kind = f.kind AND e.subject = f.subject RETURNING 1)
    SELECT (SELECT count(*) FROM changed) AS made_due, count(*) FILTER (WHERE under_way) AS under_way,
        count(*) FILTER (WHERE due) AS due_before,
        ARRAY(SELECT DISTINCT institution FROM found JOIN paused_institutions USING (institution)) AS paused
    FROM found
"""
_RETRY_AT = text(_RETRY.format(which="e.institution = :institution"))
_RETRY_THESE = text(
    _RETRY.format(
        which="(e.kind, e.subject) IN (SELECT * FROM unnest(CAST(:kinds AS text[]), CAST(:subjects AS uuid[])))"
    )
)


class Pause(NamedTuple):
    """A pause of an institution. `is_new`: it was not paused before."""

    paused_at: datetime
    note: str
    is_new: bool


class Retried(NamedTuple):
    """The result of a retry: the errands that are due now; `paused`: institutions where they wait nevertheless."""

    made_due: int
    under_way: int
    due_before: int
    paused: list[str]


async def pause(connection: AsyncConnection, institution: str, note: str = "") -> Pause:
    """Pause an institution: no process begins a run there. If it is paused already, a note replaces the former one."""
    values = {"institution": institution, "note": note}
    return Pause(*(await connection.execute(_PAUSE, values)).one())


async def resume(connection: AsyncConnection, institution: str) -> datetime | None:
    """End the pause; return when it began, or None when the institution was not paused."""
    paused_at: datetime | None = await connection.scalar(_RESUME, {"institution": institution})
    return paused_at


async def retry_at(connection: AsyncConnection, institution: str) -> Retried:
    """Make all errands that wait at this institution due, except those that a process has in hand."""
    return Retried(*(await connection.execute(_RETRY_AT, {"institution": institution})).one())


async def retry(connection: AsyncConnection, keys: Sequence[Key]) -> Retried:
    """Make these errands due, except those that a process has in hand. Keys without an errand are ignored."""
    values = {"kinds": [kind for kind, _ in keys], "subjects": [subject for _, subject in keys]}
    return Retried(*(await connection.execute(_RETRY_THESE, values)).one())
