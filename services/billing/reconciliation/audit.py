"""Audit: prove the invariants again, in one snapshot. Run every few minutes in production, and after tests.

A violation is a page at once: it means that money, proof and state disagree.
"""

from dataclasses import dataclass

import structlog
from prometheus_client import Gauge
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.billing.reconciliation.invariants import INVARIANTS

# Enough to see what is wrong; when everything is, nobody reads a million rows.
MOST_PER_INVARIANT = 1_000

VIOLATIONS = Gauge(
    "invariant_violations", "What the last audit found against each invariant.", ["id"]
)
_CHECKS = {
    id: text(f"SELECT subject, what FROM ({sql}) AS violating LIMIT {MOST_PER_INVARIANT}")  # noqa: S608 - our own SQL
    for id, sql in INVARIANTS.items()
}
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be: against which invariant, what it is about, and what was found."""

    invariant: str
    subject: str
    what: str


async def audit(connection: AsyncConnection) -> list[Violation]:
    """Every violation, up to 1,000 for each invariant. Give it a REPEATABLE READ transaction when others write."""
    return [
        Violation(id, row.subject, row.what)
        for id, check in _CHECKS.items()
        for row in await connection.execute(check)
    ]


async def audit_snapshot(engine: AsyncEngine) -> list[Violation]:
    """Audit one snapshot of the database, read only, by one process of it: payments can't wait, and the audit can."""
    async with engine.connect() as connection:
        await connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        await connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
        return await audit(connection)


async def audit_job(engine: AsyncEngine) -> int:
    """The timer's job: audit, and tell metrics and log. Always 0, so that it is not run again at once."""
    found = await audit_snapshot(engine)
    for id in INVARIANTS:
        VIOLATIONS.labels(id).set(sum(each.invariant == id for each in found))
    for each in found[:20]:
        log.error(
            "invariant_violated", invariant=each.invariant, subject=each.subject, what=each.what
        )
    return 0
