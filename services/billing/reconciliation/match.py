"""Match the collected lines and items by exact reference, amount and currency, each consumed at most once.

Days are ignored here: a payment that we booked before midnight and the source after it still matches.
"""

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.reconciliation.lines import Source

# The first of several equal lines takes the item; the others remain and are duplicates.
_BY_REFERENCE = text("""
    INSERT INTO matches (source, head, line_id, transfer_id, rule)
    SELECT :source, pair.line_id, CASE WHEN t.place = 1 THEN pair.line_id END, t.id, 'reference'
    FROM (
        SELECT l.id AS line_id, i.transfers,
            row_number() OVER (PARTITION BY i.kind, i.our_id ORDER BY l.id) AS place
        FROM recon_lines l JOIN recon_items i ON i.our_id = l.our_id AND i.kind = l.kind
        WHERE NOT i.consumed AND i.amount_minor = l.amount_minor AND i.currency = l.currency
    ) AS pair
    CROSS JOIN LATERAL unnest(pair.transfers) WITH ORDINALITY AS t (id, place)
    WHERE pair.place = 1
    ORDER BY pair.line_id, t.place
""")
# A payment that was applied and unapplied, or a refund that failed: two lines that cancel out, and we booked neither.
# Of several attempts at a refund the successful one is matched before; each other one cancels out with its failure.
_NETTED = text("""
    WITH one AS (
        SELECT *, row_number() OVER (PARTITION BY kind, reference, amount_minor, currency ORDER BY id) AS place
        FROM recon_lines
    )
    INSERT INTO matches (source, head, line_id, rule)
    SELECT :source, there.id, line.id, 'netted'
    FROM one AS there
    JOIN one AS back ON back.reference = there.reference AND back.currency = there.currency
        AND back.amount_minor = -there.amount_minor AND back.place = there.place
    CROSS JOIN LATERAL (VALUES (there.id), (back.id)) AS line (id)
    WHERE (there.kind, back.kind) = ('apply', 'unapply')
            AND NOT EXISTS (SELECT FROM recon_items i WHERE i.our_id = there.our_id AND i.kind = there.kind)
        OR (there.kind, back.kind) = ('refund', 'refund_failure') AND NOT EXISTS (
            SELECT FROM recon_items i WHERE i.our_id = back.our_id AND i.kind = back.kind AND NOT i.consumed)
""")
_DROP_MATCHED_LINES = text("""
    DELETE FROM recon_lines l
    WHERE (SELECT m.id FROM matches m WHERE m.line_id = l.id AND m.released_at IS NULL) IS NOT NULL
""")
_MARK_CONSUMED_ITEMS = text("""
    UPDATE recon_items i SET consumed = true
    WHERE NOT i.consumed AND (
        SELECT m.id FROM matches m
        WHERE m.transfer_id = i.transfers[1] AND m.source = :source AND m.released_at IS NULL) IS NOT NULL
""")


async def match(connection: AsyncConnection, source: Source) -> None:
    """Match in the caller's transaction; rows left in recon_lines and recon_items are for `judge`."""
    about = {"source": source.kind}
    await connection.execute(_BY_REFERENCE, about)
    await connection.execute(_DROP_MATCHED_LINES)
    await connection.execute(_MARK_CONSUMED_ITEMS, about)
    await connection.execute(_NETTED, about)
    await connection.execute(_DROP_MATCHED_LINES)
    await connection.exec_driver_sql("ANALYZE recon_lines, recon_items")
