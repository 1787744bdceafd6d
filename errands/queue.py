"""The rows of errands: add, claim, lock, settle, end. Each takes a list, in the caller's transaction.

A transaction that locks errands holds the rows of their aggregates already, or skips locked rows (SKIP LOCKED); keys
are locked in order. All times are the database's.
"""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from errands.model import Errand, Key
from errands.run import ErrandRun

_ADD = text("""
    INSERT INTO errands (kind, subject, institution, leg, attempt, held, due_at)
    SELECT kind, subject, institution, leg, attempt, lease IS NOT NULL,
        clock_timestamp() + coalesce(lease, 0) * interval '1 second'
    FROM unnest(CAST(:kinds AS text[]), CAST(:subjects AS uuid[]), CAST(:institutions AS text[]),
        CAST(:legs AS text[]), CAST(:attempts AS int[]), CAST(:leases AS float8[]))
        AS n (kind, subject, institution, leg, attempt, lease)
    ON CONFLICT DO NOTHING RETURNING kind, subject, now() AS added_at
""")
# A loose scan: one look into the index for each institution that has errands, however many it has.
_DUE_AND_PAUSED = text("""
    WITH RECURSIVE known (institution) AS (
        (SELECT institution FROM errands ORDER BY institution LIMIT 1)
        UNION ALL
        SELECT (SELECT e.institution FROM errands e WHERE e.institution > a.institution ORDER BY e.institution LIMIT 1)
        FROM known a WHERE a.institution IS NOT NULL)
    SELECT institution, false AS paused FROM known a
    WHERE institution IS NOT NULL
      AND NOT EXISTS (SELECT FROM paused_institutions p WHERE p.institution = a.institution)
      AND EXISTS (SELECT FROM errands e WHERE e.institution = a.institution AND e.due_at <= now())
    UNION ALL SELECT institution, true FROM paused_institutions
""")
# A held errand that is due has outlived its lease: from now on it is contested, and a call may have gone out until this
# moment. The rows are found by their ctid, so that a claim reads the rows that it takes and not the whole backlog.
_CLAIM = text("""
    WITH due AS MATERIALIZED (
        SELECT e.place
        FROM unnest(CAST(:institutions AS text[]), CAST(:places AS int[])) AS w (institution, places)
        CROSS JOIN LATERAL (
            SELECT ctid AS place FROM errands WHERE institution = w.institution AND due_at <= now()
              AND (CAST(:kinds AS text[]) IS NULL OR kind = ANY(CAST(:kinds AS text[])))
            ORDER BY due_at LIMIT w.places FOR UPDATE SKIP LOCKED) e)
    UPDATE errands e SET fence = e.fence + 1, contested = e.contested OR e.held,
        sent_at = CASE WHEN e.held THEN now() ELSE e.sent_at END,
        held = true, due_at = clock_timestamp() + CAST(:lease AS float8) * interval '1 second'
    WHERE e.ctid = ANY(ARRAY(SELECT place FROM due))
    RETURNING e.kind, e.subject, e.institution, e.leg, now() AS claimed_at, e.fence, e.contested, e.tries, e.attempt,
        e.unknown_since, e.sent_at
""")
_LOCK = text("""
    SELECT e.kind, e.subject, e.fence, e.leg, e.tries, e.contested, e.unknown_since, now() AS now
    FROM errands e JOIN unnest(CAST(:kinds AS text[]), CAST(:subjects AS uuid[])) AS k (kind, subject)
        ON e.kind = k.kind AND e.subject = k.subject
    ORDER BY e.kind, e.subject FOR UPDATE OF e
""")
_EXIST = text("""
    SELECT e.kind, e.subject FROM errands e
    JOIN unnest(CAST(:kinds AS text[]), CAST(:subjects AS uuid[])) AS k (kind, subject)
        ON e.kind = k.kind AND e.subject = k.subject
""")
_SETTLE = text("""
    UPDATE errands e
    SET institution = n.institution, leg = n.leg, attempt = n.attempt, tries = n.tries, held = false,
        leg_since = CASE WHEN e.leg = n.leg THEN e.leg_since ELSE now() END,
        unknown_since = CASE WHEN n.unanswered
            THEN CASE WHEN e.leg = n.leg THEN coalesce(e.unknown_since, now()) ELSE now() END END,
        sent_at = CASE WHEN n.unanswered THEN now() WHEN n.sent THEN coalesce(e.sent_at, now()) END,
        due_at = clock_timestamp() + n.wait * interval '1 second'
    FROM unnest(CAST(:kinds AS text[]), CAST(:subjects AS uuid[]), CAST(:institutions AS text[]),
        CAST(:legs AS text[]), CAST(:attempts AS int[]), CAST(:tries AS int[]), CAST(:unanswered AS bool[]),
        CAST(:sent AS bool[]), CAST(:waits AS float8[]))
        AS n (kind, subject, institution, leg, attempt, tries, unanswered, sent, wait)
    WHERE e.kind = n.kind AND e.subject = n.subject
""")
_END = text("""
    DELETE FROM errands e USING unnest(CAST(:kinds AS text[]), CAST(:subjects AS uuid[])) AS k (kind, subject)
    WHERE e.kind = k.kind AND e.subject = k.subject
""")
_MAKE_DUE = text("""
    UPDATE errands e SET due_at = now()
    FROM unnest(CAST(:kinds AS text[]), CAST(:subjects AS uuid[])) AS k (kind, subject)
    WHERE e.kind = k.kind AND e.subject = k.subject AND NOT e.held AND e.due_at > now()
      AND e.institution = coalesce(CAST(:institution AS text), e.institution)
""")
# In the order in which they began to wait. A row that is locked at this moment is about to change anyway.
_RECALL = text("""
    UPDATE errands SET due_at = leg_since WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM errands
        WHERE institution = :institution AND NOT held AND unknown_since IS NOT NULL AND due_at > now()
        FOR UPDATE SKIP LOCKED))
""")
_UNSENT = text("""
    SELECT kind, subject, institution, leg, extract(epoch FROM now() - due_at) AS waited FROM errands
    WHERE kind = :kind AND leg = ANY(CAST(:legs AS text[])) AND due_at < now() AND NOT held AND NOT contested
      AND sent_at IS NULL
    ORDER BY due_at LIMIT :most
""")
_REDIRECT = text("""
    UPDATE errands e SET institution = n.institution, leg = n.leg, leg_since = now(), due_at = now()
    FROM unnest(CAST(:subjects AS uuid[]), CAST(:institutions AS text[]), CAST(:legs AS text[]))
        AS n (subject, institution, leg)
    WHERE e.kind = :kind AND e.subject = n.subject AND NOT e.held AND NOT e.contested AND e.sent_at IS NULL
      AND e.leg = ANY(CAST(:from AS text[]))
    RETURNING e.subject
""")


def is_missing(kind: str, subject: str) -> str:
    """Return the SQL condition that an aggregate has no errand; `kind` and `subject` are SQL expressions."""
    return f"NOT EXISTS (SELECT FROM errands e WHERE e.kind = {kind} AND e.subject = {subject})"


class NewErrand(NamedTuple):
    """An errand to write. `lease_seconds`: this process has it for so long; None: any process with a place claims it.

    `attempt`: earlier attempts are over, and their idempotency keys are used up.
    """

    kind: str
    subject: UUID
    institution: str
    leg: str
    lease_seconds: float | None = None
    attempt: int = 1


class Waiting(NamedTuple):
    """An errand for which no call was ever sent, and how long it has waited for a place."""

    subject: UUID
    institution: str
    leg: str
    seconds: float


class InstitutionState(NamedTuple):
    """An institution that is paused, or at which errands are due."""

    institution: str
    paused: bool


async def add(connection: AsyncConnection, new: Sequence[NewErrand]) -> dict[Key, datetime]:
    """Write these errands; return the new ones with the database's time. An errand that exists stays as it is."""
    if not new:
        return {}
    added = await connection.execute(
        _ADD,
        {
            "kinds": [each.kind for each in new],
            "subjects": [each.subject for each in new],
            "institutions": [each.institution for each in new],
            "legs": [each.leg for each in new],
            "attempts": [each.attempt for each in new],
            "leases": [each.lease_seconds for each in new],
        },
    )
    return {(row.kind, row.subject): row.added_at for row in added}


async def read_due_and_paused(connection: AsyncConnection) -> list[InstitutionState]:
    """Return the institutions at which errands are due, and the paused ones."""
    return [InstitutionState(*row) for row in await connection.execute(_DUE_AND_PAUSED)]


async def claim(
    connection: AsyncConnection,
    wanted: Mapping[str, int],
    lease_seconds: float,
    kinds: Sequence[str] | None = None,
) -> list[Errand]:
    """Claim due errands for `lease_seconds`: at each institution up to the given number; of these kinds, or of all."""
    if not wanted:
        return []
    rows = await connection.execute(
        _CLAIM,
        {
            "institutions": list(wanted),
            "places": list(wanted.values()),
            "lease": lease_seconds,
            "kinds": kinds,
        },
    )
    return [Errand._make(row) for row in rows]


async def lock(connection: AsyncConnection, errands: Sequence[Errand]) -> dict[Key, Row[Any]]:
    """Lock the rows of these errands; the caller has locked their aggregates' rows. Deleted errands are missing."""
    rows = await connection.execute(_LOCK, _keys([each.key for each in errands]))
    return {(row.kind, row.subject): row for row in rows}


async def exist(connection: AsyncConnection, keys: Sequence[Key]) -> set[Key]:
    """Return the keys of those of these errands that exist."""
    rows = await connection.execute(_EXIST, _keys(keys))
    return {(row.kind, row.subject) for row in rows}


async def settle(connection: AsyncConnection, runs: Sequence[ErrandRun]) -> None:
    """Update these errands after a run: they are no longer held, and due at the time that their run says."""
    if not runs:
        return
    await connection.execute(
        _SETTLE,
        {
            **_keys([each.errand.key for each in runs]),
            "institutions": [each.institution for each in runs],
            "legs": [each.leg for each in runs],
            "attempts": [each.attempt for each in runs],
            "tries": [each.tries for each in runs],
            "unanswered": [each.unanswered for each in runs],
            "sent": [each.was_sent for each in runs],
            "waits": [each.wait_seconds for each in runs],
        },
    )


async def end(connection: AsyncConnection, keys: Sequence[Key]) -> None:
    """Delete these errands: their aggregates have ended."""
    if keys:
        await connection.execute(_END, _keys(keys))


async def end_all_but(
    connection: AsyncConnection, claimed: Sequence[Errand], still_open: Collection[UUID]
) -> None:
    """Delete the claimed errands whose aggregates have ended; `still_open` has the ids of those that have not."""
    await end(connection, [each.key for each in claimed if each.subject not in still_open])


async def make_due(
    connection: AsyncConnection, keys: Sequence[Key], institution: str | None = None
) -> int:
    """Make these errands due, unless a process has them in hand; return how many were changed.

    With an institution, only those that wait there.
    """
    where = {**_keys(keys), "institution": institution}
    return int((await connection.execute(_MAKE_DUE, where)).rowcount)


async def recall(connection: AsyncConnection, institution: str) -> int:
    """Make the errands that wait for a retry at this institution due, in the order in which they began to wait."""
    return int((await connection.execute(_RECALL, {"institution": institution})).rowcount)


async def unsent(
    connection: AsyncConnection, kind: str, legs: Sequence[str], most: int = 5_000
) -> list[Waiting]:
    """Return the oldest errands at these legs that wait for a place and for which no call was ever sent."""
    rows = await connection.execute(_UNSENT, {"kind": kind, "legs": list(legs), "most": most})
    return [Waiting(row.subject, row.institution, row.leg, float(row.waited)) for row in rows]


async def redirect(
    connection: AsyncConnection,
    kind: str,
    to: Mapping[UUID, tuple[str, str]],
    legs: Sequence[str],
) -> set[UUID]:
    """Point errands that are still at these legs, and for which no call was ever sent, to another (institution, leg);
    return those that were changed."""
    rows = await connection.execute(
        _REDIRECT,
        {
            "kind": kind,
            "from": list(legs),
            "subjects": list(to),
            "institutions": [institution for institution, _ in to.values()],
            "legs": [leg for _, leg in to.values()],
        },
    )
    return set(rows.scalars())


def _keys(keys: Sequence[Key]) -> dict[str, list[Any]]:
    return {"kinds": [kind for kind, _ in keys], "subjects": [subject for _, subject in keys]}
