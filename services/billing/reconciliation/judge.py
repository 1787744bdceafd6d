"""Judge the remainder: each line without a transfer and each transfer without a line is a break.

A break is identified by source, kind, reference, type and ordinal. A run that finds it again changes nothing; a run
that does not find it resolves it; a later run that finds it opens it again.
"""

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.china import bounds_of
from chassis.database import one_of
from services.billing import ledger
from services.billing.reconciliation.lines import LINE_KINDS, Source

_FOUND = """
    CREATE TEMP TABLE recon_found (type text, kind text, reference text, ordinal integer, day date, line_id bigint,
        transfer_id uuid, theirs_minor bigint, theirs_currency char(3), ours_minor bigint, ours_currency char(3))
    ON COMMIT DROP
"""
_LEFT_LINES = text("""
    INSERT INTO recon_found
    SELECT type, kind, reference, row_number() OVER (PARTITION BY type, kind, reference ORDER BY id), day, id,
        transfer_id, amount_minor, currency, ours_minor, ours_currency
    FROM (
        SELECT l.*, i.amount_minor AS ours_minor, i.currency AS ours_currency,
            i.transfers[cardinality(i.transfers)] AS transfer_id,
            CASE WHEN i.consumed OR row_number() OVER (PARTITION BY l.kind, l.reference, l.our_id ORDER BY l.id) > 1
                    THEN 'duplicate'
                WHEN i.our_id IS NULL THEN 'missing_internal'
                WHEN i.currency <> l.currency THEN 'currency'
                ELSE 'amount' END AS type
        FROM recon_lines l LEFT JOIN recon_items i ON i.our_id = l.our_id AND i.kind = l.kind
    ) AS judged
""")
# Only for days that have been judged; the others are judged when their statement is there.
_LEFT_ITEMS = text("""
    INSERT INTO recon_found
    SELECT 'missing_external', i.kind, i.reference,
        row_number() OVER (PARTITION BY i.kind, i.reference ORDER BY i.our_id), i.day, NULL,
        i.transfers[cardinality(i.transfers)], NULL, NULL, i.amount_minor, i.currency
    FROM recon_items i
    WHERE i.expected AND NOT i.consumed
      AND (i.day IN (SELECT day FROM recon_scope) OR i.day IN (
          SELECT day FROM statements
          WHERE source = :source AND source_id = :source_id AND superseded_at IS NULL AND judged_at IS NOT NULL))
      AND NOT EXISTS (SELECT FROM recon_lines l WHERE l.our_id = i.our_id AND l.kind = i.kind)
""")
# The day's own statement may be missing, and statements that were missing before may have been imported.
_TOLD_OF = one_of("t.kind", tuple({**LINE_KINDS, **dict.fromkeys(ledger.TAKES_BACK)}))
_MISSING_STATEMENTS = text(f"""
    INSERT INTO recon_found (type, kind, reference, ordinal, day)
    SELECT 'missing_statement', 'statement', CAST(d.day AS text), 1, d.day
    FROM (
        SELECT day FROM breaks WHERE source = :source AND source_id = :source_id AND state = 'open'
            AND type = 'missing_statement'
        UNION
        SELECT CAST(:day AS date) WHERE EXISTS (
            SELECT FROM booked_transfers t
            WHERE t.occurred_at >= :since AND t.occurred_at < :until
              AND (t.debit_account = ANY(CAST(:accounts AS bigint[]))
                  OR t.credit_account = ANY(CAST(:accounts AS bigint[])))
              AND {_TOLD_OF})
    ) AS d
    WHERE NOT EXISTS (SELECT FROM statements s WHERE s.source = :source AND s.source_id = :source_id
        AND s.day = d.day AND s.superseded_at IS NULL)
""")  # noqa: S608 - our own kinds
_OPEN = text("""
    INSERT INTO breaks AS b (source, source_id, day, type, kind, reference, ordinal, line_id, transfer_id,
        theirs_minor, theirs_currency, ours_minor, ours_currency)
    SELECT :source, :source_id, day, type, kind, reference, ordinal, line_id, transfer_id,
        theirs_minor, theirs_currency, ours_minor, ours_currency
    FROM recon_found ORDER BY kind, reference, type, ordinal
    ON CONFLICT (source, source_id, kind, reference, type, ordinal) DO UPDATE SET
        day = excluded.day, line_id = excluded.line_id, transfer_id = excluded.transfer_id,
        theirs_minor = excluded.theirs_minor, theirs_currency = excluded.theirs_currency,
        ours_minor = excluded.ours_minor, ours_currency = excluded.ours_currency, state = 'open', closed_at = NULL,
        reopened_at = CASE WHEN b.state = 'resolved' THEN now() ELSE b.reopened_at END
    WHERE b.state = 'resolved'
       OR (b.day, b.line_id, b.transfer_id, b.theirs_minor, b.theirs_currency, b.ours_minor, b.ours_currency)
          IS DISTINCT FROM (excluded.day, excluded.line_id, excluded.transfer_id, excluded.theirs_minor,
              excluded.theirs_currency, excluded.ours_minor, excluded.ours_currency)
""")
_RESOLVE = text("""
    UPDATE breaks b SET state = 'resolved', closed_at = now()
    WHERE b.source = :source AND b.source_id = :source_id AND b.state = 'open' AND NOT EXISTS (
        SELECT FROM recon_found f WHERE f.kind = b.kind AND f.reference = b.reference AND f.type = b.type
        AND f.ordinal = b.ordinal)
""")
_JUDGED = text("""
    UPDATE statements SET judged_at = now()
    WHERE id IN (SELECT statement_id FROM recon_scope) AND judged_at IS NULL
""")


async def judge(
    connection: AsyncConnection, source: Source, day: date, accounts: list[int]
) -> None:
    """Open, reopen and resolve the source's breaks in the caller's transaction, after `collect` and `match`."""
    about = {"source": source.kind, "source_id": source.id}
    since, until = bounds_of(day)
    of_day = {**about, "day": day, "since": since, "until": until, "accounts": accounts}
    await connection.exec_driver_sql(_FOUND)
    await connection.execute(_LEFT_LINES)
    await connection.execute(_LEFT_ITEMS, about)
    await connection.execute(_MISSING_STATEMENTS, of_day)
    await connection.exec_driver_sql("CREATE INDEX ON recon_found (reference, kind)")
    await connection.exec_driver_sql("ANALYZE recon_found")
    await connection.execute(_OPEN, about)
    await connection.execute(_RESOLVE, about)
    await connection.execute(_JUDGED)
