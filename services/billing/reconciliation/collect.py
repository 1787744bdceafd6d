"""Collect the input of a run: the lines that are not matched yet, and the ledger's items for them.

Lines: those of the day's statement, of days whose statement was superseded since they were judged, and of open
breaks. Items: what the source's statement should have for our transfers. At the PSP each transfer is an item. At a
biller a payment is an item, and all refunds of a payment together are one, because the biller takes its mark back
only as a whole.

Right after an import the planner knows little about `matches`; a wrong estimate made a join quadratic (minutes for
100,000 lines). So each look into it is a subquery that can only be a probe of an index: scalar, or with OFFSET 0.
"""

from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis import china
from chassis.database import one_of
from services.billing import ledger
from services.billing.reconciliation.lines import LINE_KINDS, Source

_TABLES = (
    "CREATE TEMP TABLE recon_scope (statement_id bigint, day date) ON COMMIT DROP",
    "CREATE TEMP TABLE recon_released (line_id bigint, transfer_id uuid) ON COMMIT DROP",
    """CREATE TEMP TABLE recon_lines (id bigint, kind text, reference text, our_id uuid, amount_minor bigint,
        currency char(3), day date) ON COMMIT DROP""",
    """CREATE TEMP TABLE recon_items (kind text, our_id uuid, reference text, amount_minor bigint, currency char(3),
        transfers uuid[], day date, consumed boolean, expected boolean) ON COMMIT DROP""",
)

_SCOPE = text("""
    INSERT INTO recon_scope
    SELECT s.id, s.day FROM statements s
    WHERE s.source = :source AND s.source_id = :source_id AND s.superseded_at IS NULL AND (
        s.day = :day OR s.judged_at IS NULL AND EXISTS (
            SELECT FROM statements o WHERE o.source = s.source AND o.source_id = s.source_id AND o.day = s.day
            AND o.judged_at IS NOT NULL))
""")
# The items and lines that superseded versions of these days had consumed.
_RELEASED = text("""
    INSERT INTO recon_released
    SELECT DISTINCT g.line_id, g.transfer_id
    FROM statements o JOIN statement_lines l ON l.statement_id = o.id
    CROSS JOIN LATERAL (
        SELECT m.head FROM matches m WHERE m.line_id = l.id AND m.released_at IS NOT NULL OFFSET 0) AS h
    CROSS JOIN LATERAL (
        SELECT g.line_id, g.transfer_id FROM matches g
        WHERE g.head = h.head AND g.released_at IS NOT NULL OFFSET 0) AS g
    WHERE o.source = :source AND o.source_id = :source_id AND o.superseded_at IS NOT NULL
      AND o.day IN (SELECT day FROM recon_scope)
""")
_LINES = text("""
    INSERT INTO recon_lines
    SELECT l.id, l.kind, l.reference, l.our_id, l.amount_minor, l.currency, s.day
    FROM (
        SELECT l.id FROM recon_scope c JOIN statement_lines l ON l.statement_id = c.statement_id
        UNION
        SELECT line_id FROM breaks
        WHERE source = :source AND source_id = :source_id AND state = 'open' AND line_id IS NOT NULL
        UNION
        SELECT line_id FROM recon_released WHERE line_id IS NOT NULL
    ) AS wanted
    JOIN statement_lines l ON l.id = wanted.id
    JOIN statements s ON s.id = l.statement_id AND s.superseded_at IS NULL
    WHERE (SELECT m.id FROM matches m WHERE m.line_id = l.id AND m.released_at IS NULL) IS NULL
""")

_TRANSFERS = f"""
    SELECT t.id, t.kind, t.corrects FROM recon_scope c JOIN booked_transfers t
        ON t.occurred_at >= CAST(c.day AS timestamp) AT TIME ZONE '{china.ZONE_NAME}'
        AND t.occurred_at < CAST(c.day + 1 AS timestamp) AT TIME ZONE '{china.ZONE_NAME}'
    WHERE t.debit_account = ANY(CAST(:accounts AS bigint[])) OR t.credit_account = ANY(CAST(:accounts AS bigint[]))
    UNION ALL
    SELECT t.id, t.kind, t.corrects FROM booked_transfers t WHERE t.id IN (
        SELECT transfer_id FROM breaks
        WHERE source = :source AND source_id = :source_id AND state = 'open' AND transfer_id IS NOT NULL
        UNION
        SELECT transfer_id FROM recon_released WHERE transfer_id IS NOT NULL)
"""  # noqa: S608 - our own zone
_DAY = f"CAST({{}} AT TIME ZONE '{china.ZONE_NAME}' AS date)"
_CONSUMED = """
    (SELECT m.id FROM matches m WHERE m.transfer_id = t.id AND m.source = :source AND m.released_at IS NULL) IS NOT NULL
"""

_TAKES_BACK = one_of("kind", ledger.TAKES_BACK)
_LINE_KINDS = ", ".join(f"('{kind}', '{line_kind}')" for kind, line_kind in LINE_KINDS.items())
# Late captures and returned money are referred to by what they correct: the payment, the refund or the top-up.
_PSP_ITEMS = text(f"""
    INSERT INTO recon_items
    SELECT k.line_kind, t.id, CAST(coalesce(
            (SELECT r.refund_id FROM refund_transfers r WHERE r.transfer_id = about.id),
            (SELECT u.top_up_id FROM top_up_transfers u WHERE u.transfer_id = about.id), about.id) AS text),
        CASE WHEN t.debit_account = ANY(CAST(:accounts AS bigint[])) THEN t.amount_minor ELSE -t.amount_minor END,
        t.currency, ARRAY[t.id], {_DAY.format("t.occurred_at")}, {_CONSUMED}, true
    FROM (SELECT id FROM ({_TRANSFERS}) AS ours UNION SELECT our_id FROM recon_lines WHERE our_id IS NOT NULL) AS wanted
    JOIN booked_transfers t ON t.id = wanted.id
    JOIN (VALUES {_LINE_KINDS}) AS k (kind, line_kind) ON k.kind = t.kind
    CROSS JOIN LATERAL (SELECT CASE WHEN t.kind IN ('late_return', 'refund_returned') THEN coalesce(
        (SELECT o.corrects FROM booked_transfers o WHERE o.id = t.corrects AND o.kind = 'late_return'), t.corrects)
        ELSE t.id END AS id) AS about
    WHERE t.debit_account = ANY(CAST(:accounts AS bigint[])) OR t.credit_account = ANY(CAST(:accounts AS bigint[]))
""")  # noqa: S608 - made of the constants above

_PAYMENTS = "CREATE TEMP TABLE recon_payments (id uuid, serial text) ON COMMIT DROP"
_FIND_PAYMENTS = text(f"""
    INSERT INTO recon_payments
    SELECT id, upper(replace(CAST(id AS text), '-', '')) FROM (
        SELECT CASE WHEN kind = 'pay_bill' THEN id ELSE corrects END AS id FROM ({_TRANSFERS}) AS ours
        WHERE kind = 'pay_bill' OR {_TAKES_BACK}
        UNION SELECT our_id FROM recon_lines WHERE our_id IS NOT NULL
    ) AS wanted
""")  # noqa: S608 - made of the constants above
_APPLY_ITEMS = text(f"""
    INSERT INTO recon_items
    SELECT 'apply', t.id, p.serial, t.amount_minor, t.currency, ARRAY[t.id], {_DAY.format("t.occurred_at")},
        {_CONSUMED}, true
    FROM recon_payments p JOIN booked_transfers t ON t.id = p.id
    WHERE t.kind = 'pay_bill' AND t.credit_account = ANY(CAST(:accounts AS bigint[]))
""")  # noqa: S608 - made of the constants above
# An unapply is expected when all of the payment has gone back; consumed transfers belong to an earlier one.
_UNAPPLY_ITEMS = text(f"""
    INSERT INTO recon_items
    SELECT 'unapply', corrects, serial, -coalesce(sum(amount_minor) FILTER (WHERE NOT consumed), sum(amount_minor)),
        currency, coalesce(array_agg(id ORDER BY occurred_at, id) FILTER (WHERE NOT consumed), array_agg(id)),
        {_DAY.format("max(occurred_at)")}, bool_and(consumed), sum(amount_minor) = paid_minor
    FROM (
        SELECT t.id, t.corrects, p.serial, t.amount_minor, t.currency, t.occurred_at, paid.amount_minor AS paid_minor,
            {_CONSUMED} AS consumed
        FROM recon_payments p
        CROSS JOIN LATERAL (SELECT * FROM booked_transfers t WHERE t.corrects = p.id OFFSET 0) AS t
        JOIN booked_transfers paid ON paid.id = p.id AND paid.credit_account = ANY(CAST(:accounts AS bigint[]))
        WHERE t.{_TAKES_BACK} AND t.debit_account = ANY(CAST(:accounts AS bigint[]))
    ) AS refunds
    GROUP BY corrects, serial, currency, paid_minor
""")  # noqa: S608 - made of the constants above


async def collect(connection: AsyncConnection, source: Source, day: date) -> list[int]:
    """Fill recon_scope, recon_lines and recon_items for this transaction; return the source's ledger accounts."""
    accounts = await ledger.accounts_at(connection, source.address)
    about = {"source": source.kind, "source_id": source.id}
    for table in _TABLES:
        await connection.exec_driver_sql(table)
    await connection.execute(_SCOPE, {**about, "day": day})
    await connection.execute(_RELEASED, about)
    await connection.exec_driver_sql("ANALYZE recon_scope, recon_released")
    await connection.execute(_LINES, about)
    # The planner has no statistics of temporary tables until they are analyzed.
    await connection.exec_driver_sql("ANALYZE recon_lines")
    ours = {**about, "accounts": accounts}
    if source.kind == "psp":
        await connection.execute(_PSP_ITEMS, ours)
    else:
        await connection.exec_driver_sql(_PAYMENTS)
        await connection.execute(_FIND_PAYMENTS, ours)
        await connection.exec_driver_sql("ANALYZE recon_payments")
        shared = {"source": source.kind, "accounts": accounts}
        await connection.execute(_APPLY_ITEMS, shared)
        await connection.execute(_UNAPPLY_ITEMS, shared)
    await connection.exec_driver_sql("ANALYZE recon_items")
    return accounts
