"""Reconcile a day: each source's statement against the ledger, item by item, a transaction per source.

Statements are imported before (fetch.py). A run may be repeated at any time; without new evidence it changes nothing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.china import bounds_of
from chassis.database import one_of
from services.billing import ledger
from services.billing.reconciliation.collect import collect
from services.billing.reconciliation.judge import judge
from services.billing.reconciliation.lines import PSP, Source
from services.billing.reconciliation.match import match
from services.billing.reconciliation.store import lock

# Billers with a statement or a transfer of the day, or with open breaks.
_BILLERS = text(f"""
    SELECT source_id FROM statements WHERE source = 'biller' AND day = :day
    UNION
    SELECT source_id FROM breaks WHERE source = 'biller' AND state = 'open'
    UNION
    SELECT a.biller_id FROM (
        SELECT unnest(ARRAY[debit_account, credit_account]) AS account FROM booked_transfers
        WHERE occurred_at >= :since AND occurred_at < :until
          AND (kind = 'pay_bill' OR {one_of("kind", ledger.TAKES_BACK)})
        GROUP BY 1
    ) AS used JOIN biller_accounts a ON a.id = used.account
    ORDER BY 1
""")  # noqa: S608 - our own kinds
_RESULT = text("""
    SELECT s.version IS NOT NULL AS has_statement, coalesce(s.lines, 0) AS lines,
        (SELECT count(*) FROM booked_transfers t
         WHERE t.occurred_at >= :since AND t.occurred_at < :until
           AND (t.debit_account = ANY(CAST(:accounts AS bigint[]))
               OR t.credit_account = ANY(CAST(:accounts AS bigint[])))
        ) AS transfers,
        (SELECT count(*) FROM statement_lines l WHERE l.statement_id = s.id AND (
             SELECT m.id FROM matches m WHERE m.line_id = l.id AND m.released_at IS NULL) IS NOT NULL) AS matched,
        (SELECT count(*) FROM breaks WHERE source = :source AND source_id = :source_id AND state = 'open'
         AND day = :day) AS breaks,
        (SELECT count(*) FROM breaks WHERE source = :source AND source_id = :source_id AND state = 'open'
         AND day <> :day) AS other_days
    FROM (SELECT 1) AS one LEFT JOIN statements s
        ON s.source = :source AND s.source_id = :source_id AND s.day = :day AND s.superseded_at IS NULL
""")


@dataclass(frozen=True, slots=True)
class SourceResult:
    """The result of one source. `breaks` counts the open breaks of the day, `other_days` those of other days."""

    source: Source
    has_statement: bool
    lines: int
    transfers: int
    matched: int
    breaks: int
    other_days: int


@dataclass(frozen=True, slots=True)
class Reconciliation:
    """The result of a day, source by source."""

    day: date
    sources: Sequence[SourceResult]

    @property
    def agrees(self) -> bool:
        """True when no break is open, of this day or of another."""
        return not any(each.breaks or each.other_days for each in self.sources)


async def reconcile(engine: AsyncEngine, day: date) -> Reconciliation:
    """Match and judge a day (Asia/Shanghai) for every source with statements or transfers."""
    since, until = bounds_of(day)
    async with engine.connect() as connection:
        found = await connection.scalars(_BILLERS, {"day": day, "since": since, "until": until})
        sources = [PSP, *(Source("biller", id) for id in found)]
    results = []
    for source in sources:
        async with engine.begin() as connection:
            results.append(await _reconcile(connection, source, day))
    return Reconciliation(day, results)


async def _reconcile(connection: AsyncConnection, source: Source, day: date) -> SourceResult:
    await lock(connection, source)
    accounts = await collect(connection, source, day)
    await match(connection, source)
    await judge(connection, source, day, accounts)
    since, until = bounds_of(day)
    row = await connection.execute(
        _RESULT,
        {
            "source": source.kind,
            "source_id": source.id,
            "day": day,
            "since": since,
            "until": until,
            "accounts": accounts,
        },
    )
    return SourceResult(source, *row.one())
