"""Store statements: the same statement again changes nothing; a changed one of the same day supersedes the old
version.

The lines of a superseded version stay, archived; the transfers that they had consumed are released, to be matched
again.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.reconciliation.lines import Line, Source

# Arrays of this many lines have a few megabytes.
_CHUNK = 20_000

_LOCK = text("SELECT pg_advisory_xact_lock(hashtextextended('reconciliation of ' || :source, 0))")
_CURRENT = text("""
    SELECT id, version, content_hash FROM statements
    WHERE source = :source AND source_id = :source_id AND day = :day AND superseded_at IS NULL
""")
_SUPERSEDE = text("UPDATE statements SET superseded_at = now() WHERE id = :id")
# OFFSET 0 keeps each step a probe of an index (see collect.py).
_RELEASE = text("""
    UPDATE matches SET released_at = now() WHERE id IN (
        SELECT g.id FROM statement_lines l
        CROSS JOIN LATERAL (
            SELECT m.head FROM matches m WHERE m.line_id = l.id AND m.released_at IS NULL OFFSET 0) AS h
        CROSS JOIN LATERAL (
            SELECT g.id FROM matches g WHERE g.head = h.head AND g.released_at IS NULL OFFSET 0) AS g
        WHERE l.statement_id = :id)
""")
_INSERT = text("""
    INSERT INTO statements (source, source_id, day, version, content_hash, lines, totals)
    VALUES (:source, :source_id, :day, :version, :content_hash, :lines, CAST(:totals AS jsonb))
    RETURNING id
""")
# An older transfer is found by its former id. Kinds are compared, because a payment's transfer may have the same id.
_INSERT_LINES = text("""
    INSERT INTO statement_lines (statement_id, kind, reference, our_id, amount_minor, currency, occurred_at, raw)
    SELECT :statement_id, l.kind, reference,
        coalesce((SELECT t.id FROM booked_transfers t WHERE t.id = l.former_id AND (l.kind, t.kind) IN (
            ('charge', 'top_up'), ('refund', 'refund'), ('fee', 'psp_fee'), ('payout', 'psp_settlement'))), our_id),
        amount_minor, currency, occurred_at, CAST(raw AS jsonb)
    FROM unnest(CAST(:kinds AS text[]), CAST(:references AS text[]), CAST(:our_ids AS uuid[]),
        CAST(:former_ids AS uuid[]), CAST(:amounts AS bigint[]), CAST(:currencies AS text[]),
        CAST(:occurred AS timestamptz[]), CAST(:raws AS text[])) WITH ORDINALITY
        AS l (kind, reference, our_id, former_id, amount_minor, currency, occurred_at, raw, place)
    ORDER BY place
""")


@dataclass(frozen=True, slots=True)
class StoredStatement:
    """The current statement of a source and a day; `changed` when it was stored just now."""

    statement_id: int
    version: int
    changed: bool


async def lock(connection: AsyncConnection, source: Source) -> None:
    """Lock a source until the transaction ends: one import or reconciliation of it at a time."""
    await connection.execute(_LOCK, {"source": f"{source.kind}:{source.id}"})


async def store(
    connection: AsyncConnection, source: Source, day: date, lines: Sequence[Line]
) -> StoredStatement:
    """Store this statement in the caller's transaction."""
    await lock(connection, source)
    about = {"source": source.kind, "source_id": source.id, "day": day}
    content_hash = hash_of(lines)
    before = (await connection.execute(_CURRENT, about)).one_or_none()
    if before and before.content_hash == content_hash:
        return StoredStatement(before.id, before.version, changed=False)
    if before:
        await connection.execute(_RELEASE, {"id": before.id})
        await connection.execute(_SUPERSEDE, {"id": before.id})
    totals: Counter[str] = Counter()
    for each in lines:
        totals[each.currency] += each.amount_minor
    version = before.version + 1 if before else 1
    statement_id = await connection.scalar(
        _INSERT,
        {
            **about,
            "version": version,
            "content_hash": content_hash,
            "lines": len(lines),
            "totals": json.dumps(totals),
        },
    )
    assert isinstance(statement_id, int)
    for start in range(0, len(lines), _CHUNK):
        await _insert_lines(connection, statement_id, lines[start : start + _CHUNK])
    return StoredStatement(statement_id, version, changed=True)


def hash_of(lines: Sequence[Line]) -> bytes:
    """Return a digest of a statement's lines, independent of their order."""
    texts = sorted(
        f"{each.kind}|{each.reference}|{each.amount_minor}|{each.currency}|{each.occurred_at.timestamp()}"
        f"|{json.dumps(each.raw, sort_keys=True)}"
        for each in lines
    )
    return hashlib.sha256("\n".join(texts).encode()).digest()


async def _insert_lines(
    connection: AsyncConnection, statement_id: int, lines: Sequence[Line]
) -> None:
    await connection.execute(
        _INSERT_LINES,
        {
            "statement_id": statement_id,
            "kinds": [each.kind for each in lines],
            "references": [each.reference for each in lines],
            "our_ids": [each.our_id for each in lines],
            "former_ids": [each.former_id for each in lines],
            "amounts": [each.amount_minor for each in lines],
            "currencies": [each.currency for each in lines],
            "occurred": [each.occurred_at for each in lines],
            "raws": [json.dumps(each.raw) for each in lines],
        },
    )
