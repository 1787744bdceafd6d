"""Audit: prove the invariants again. Run every few minutes in production, and after tests.

A violation is a page at once: it means that money, proof and state disagree.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

import structlog
from prometheus_client import Gauge
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.billing.reconciliation.invariants import INVARIANTS

# Enough to see what is wrong; when everything is, nobody reads a million rows.
MOST_PER_INVARIANT = 1_000
# The statements of a large ledger take tens of seconds: after each the job rests for so many times as long, so that
# payments which had to wait catch up.
REST = 9.0

VIOLATIONS = Gauge(
    "invariant_violations", "What the last audit found against each invariant.", ["id"]
)
_FAULTS = "SELECT subject, what FROM ({}) AS violating (subject, what) LIMIT {}"
_CHECKS = {
    id: [text(_FAULTS.format(sql, MOST_PER_INVARIANT)) for sql in statements]
    for id, statements in INVARIANTS.items()
}
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be: against which invariant, what it is about, and what was found."""

    invariant: str
    subject: str
    what: str


async def audit(connection: AsyncConnection) -> list[Violation]:
    """Every violation that this connection sees, up to 1,000 for each statement."""
    return [
        found
        for id, statements in _CHECKS.items()
        for check in statements
        for found in await _violations(connection, id, check)
    ]


async def audit_database(engine: AsyncEngine) -> list[Violation]:
    """Audit while others write, read only; takes a processor for as long as it needs."""
    return [each async for _, found in _judge(engine, rest=0.0) for each in found]


async def audit_job(engine: AsyncEngine, rest: float = REST) -> int:
    """The timer's job: audit, and tell metrics and log. Always 0, so that it is not run again at once.

    It takes a tenth of one processor, so on a large ledger it goes on for long; each invariant is told when it has been
    judged.
    """
    async for id, found in _judge(engine, rest):
        VIOLATIONS.labels(id).set(len(found))
        for each in found[:20]:
            log.error("invariant_violated", invariant=id, subject=each.subject, what=each.what)
    return 0


async def _judge(engine: AsyncEngine, rest: float) -> AsyncIterator[tuple[str, list[Violation]]]:
    # Each statement sees a snapshot of its own. One for all of them would be held for minutes on a large ledger, and so
    # long no old version of a biller's balance, which every batch updates, could be cleared away: payments would wade
    # through them. And one processor is enough, for payments can't wait and the audit can.
    for id, statements in _CHECKS.items():
        found: list[Violation] = []
        for check in statements:
            began = time.monotonic()
            async with engine.connect() as connection:
                await connection.execution_options(postgresql_readonly=True)
                await connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
                found += await _violations(connection, id, check)
            await asyncio.sleep(rest * (time.monotonic() - began))
        yield id, found


async def _violations(
    connection: AsyncConnection, invariant: str, check: TextClause
) -> list[Violation]:
    rows = await connection.execute(check)
    return [Violation(invariant, row.subject, row.what) for row in rows]
