"""Audit: prove the invariants again. Run every few minutes in production, and after tests.

A violation is a page at once: it means that money, proof and state disagree.
"""

from dataclasses import dataclass

import structlog
from prometheus_client import Gauge
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.billing.reconciliation.invariants import INVARIANTS

# Enough to see what is wrong; when everything is, nobody reads a million rows.
MOST_PER_INVARIANT = 1_000

VIOLATIONS = Gauge(
    "invariant_violations", "What the last audit found against each invariant.", ["id"]
)
_FAULTS = "SELECT subject, what FROM ({}) AS violating (subject, what) LIMIT {}"
_CHECKS = [
    (id, text(_FAULTS.format(sql, MOST_PER_INVARIANT)))
    for id, statements in INVARIANTS.items()
    for sql in statements
]
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be: against which invariant, what it is about, and what was found."""

    invariant: str
    subject: str
    what: str


async def audit(connection: AsyncConnection) -> list[Violation]:
    """Every violation that this connection sees, up to 1,000 for each statement."""
    return [found for check in _CHECKS for found in await _violations(connection, *check)]


async def audit_database(engine: AsyncEngine) -> list[Violation]:
    """Audit while others write, read only: each statement sees a snapshot of its own.

    One snapshot for all of them would be held for minutes on a large ledger, and so long no old version of a biller's
    balance, which every batch updates, could be cleared away: payments would wade through them. And one processor is
    enough, for payments can't wait and the audit can.
    """
    found: list[Violation] = []
    async with engine.connect() as connection:
        await connection.execution_options(postgresql_readonly=True)
        for check in _CHECKS:
            async with connection.begin():
                await connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
                found += await _violations(connection, *check)
    return found


async def _violations(
    connection: AsyncConnection, invariant: str, check: TextClause
) -> list[Violation]:
    rows = await connection.execute(check)
    return [Violation(invariant, row.subject, row.what) for row in rows]


async def audit_job(engine: AsyncEngine) -> int:
    """The timer's job: audit, and tell metrics and log. Always 0, so that it is not run again at once."""
    found = await audit_database(engine)
    for id in INVARIANTS:
        VIOLATIONS.labels(id).set(sum(each.invariant == id for each in found))
    for each in found[:20]:
        log.error(
            "invariant_violated", invariant=each.invariant, subject=each.subject, what=each.what
        )
    return 0
