"""Audit: prove the invariants again. Run every few minutes in production, and after tests.

A violation is a page at once: it means that money, proof and state disagree.

The timer's audit judges what is not sealed yet and what was sealed since the last one, whatever the size of the ledger,
and each time some of the older seals once more, so that each is judged again within a week (decision 13). An operator's
audit reads everything.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from prometheus_client import Gauge
from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.billing import ledger
from services.billing.audit.made import DUE_AFTER, MADE
from services.billing.audit.names import NAMES, SEALS
from services.billing.audit.span import ALWAYS, END, Checks, Span, of_a_span, of_everything
from services.billing.audit.standing import BALANCES, BUCKETS, STANDING

AUDIT_SECONDS = 300.0
# Each sealed span is judged again within this time.
ROUND = timedelta(days=7)
# A statement may take seconds on a large ledger: after each the job rests for so many times as long, so that payments
# which had to wait catch up.
REST = 9.0
# So many new seals are judged at once; there are more after a past was sealed.
MOST_NEW = 60

VIOLATIONS = Gauge(
    "invariant_violations",
    "What the last audit found against each invariant, in what is sealed and in what is not yet.",
    ["id", "of"],
)
IDS = [*dict.fromkeys([*STANDING, *MADE])]
_EVERYTHING = [of_everything(each) for each in (STANDING, BALANCES, MADE)]
_UNSEALED = [of_a_span(each) for each in (STANDING, BUCKETS, MADE)]
_SEALED = [of_a_span(MADE)]
_TO_JUDGE = text("""
    SELECT since, until FROM seals WHERE faults > 0
    UNION
    (SELECT since, until FROM seals
     WHERE judged_at < until + CAST(:due_after AS interval) AND until < now() - CAST(:due_after AS interval)
     ORDER BY since DESC LIMIT :most)
    UNION
    (SELECT since, until FROM seals WHERE judged_at IS NULL ORDER BY since DESC LIMIT :most)
    UNION
    (SELECT since, until FROM seals WHERE judged_at IS NOT NULL ORDER BY judged_at, since
     LIMIT (SELECT CAST(ceil(count(*) * CAST(:share AS float8)) AS bigint) FROM seals))
    ORDER BY since
""")
_JUDGED = text("""
    UPDATE seals SET judged_at = :began, faults = :faults WHERE since >= :since AND since < :until
""")
log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Violation:
    """Something that must not be: against which invariant, what it is about, and what was found."""

    invariant: str
    subject: str
    what: str

    @property
    def name(self) -> str:
        """The invariant in words."""
        return NAMES[self.invariant]


async def audit(connection: AsyncConnection) -> list[Violation]:
    """Every violation that this connection sees, up to 1,000 for each statement."""
    found = []
    for id, check in _all(_EVERYTHING):
        found += await _violations(connection, id, check, ALWAYS)
    return found + await _broken_seals(connection, ALWAYS)


async def audit_database(engine: AsyncEngine, *, unsealed: bool = False) -> list[Violation]:
    """Audit while others write, read only: everything, or what is not sealed. Takes a processor while it reads."""
    if unsealed:
        return [each async for _, found in _judge(engine, _UNSEALED, None, 0.0) for each in found]
    found = [each async for _, some in _judge(engine, _EVERYTHING, ALWAYS, 0.0) for each in some]
    async with engine.connect() as connection:
        return found + await _broken_seals(connection, ALWAYS)


async def audit_job(engine: AsyncEngine, rest: float = REST) -> int:
    """The timer's job: audit, and tell metrics and log. Always 0, so that it is not run again at once.

    It takes at most a tenth of one processor.
    """
    of_unsealed = dict.fromkeys(IDS, 0)
    async for id, found in _judge(engine, _UNSEALED, None, rest):
        of_unsealed[id] += _log(found)
    _tell("unsealed", of_unsealed)
    of_sealed = dict.fromkeys([*MADE, SEALS], 0)
    spans, began = await _to_judge(engine)
    for span in spans:
        faults = dict.fromkeys(of_sealed, 0)
        async for id, found in _judge(engine, _SEALED, span, rest):
            faults[id] += _log(found)
        async with engine.begin() as connection:
            faults[SEALS] = _log(await _broken_seals(connection, span))
            about = {"faults": sum(faults.values()), "began": began, **span._asdict()}
            await connection.execute(_JUDGED, about)
        of_sealed = {id: count + faults[id] for id, count in of_sealed.items()}
    _tell("sealed", of_sealed)
    return 0


async def _to_judge(engine: AsyncEngine) -> tuple[list[Span], datetime]:
    # The spans that are new, those whose promises have become due since they were judged, those that were judged
    # longest ago, and those with faults, so that an alarm lasts as long as its reason does. And the database's time.
    asked = {
        "share": AUDIT_SECONDS / ROUND.total_seconds(),
        "most": MOST_NEW,
        "due_after": DUE_AFTER,
    }
    async with engine.connect() as connection:
        now = (await connection.execute(text("SELECT now()"))).scalar_one()
        rows = (await connection.execute(_TO_JUDGE, asked)).all()
    spans: list[Span] = []
    for since, until in rows:
        # One after the other is one span.
        begins = spans.pop().since if spans and spans[-1].until == since else since
        spans.append(Span(begins, until))
    return spans, now


async def _judge(
    engine: AsyncEngine, checks: Sequence[Checks], span: Span | None, rest: float
) -> AsyncIterator[tuple[str, list[Violation]]]:
    # Without a span: what is not sealed. Each statement sees a snapshot of its own: one for all of them would be held
    # for minutes on a large ledger, and so long no old version of a biller's balance, which every batch updates, could
    # be cleared away: payments would wade through them. And one processor is enough, for payments can't wait and the
    # audit can.
    for id, check in _all(checks):
        began = time.monotonic()
        async with engine.connect() as connection:
            await connection.execution_options(
                postgresql_readonly=True, isolation_level="REPEATABLE READ"
            )
            await connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
            # What is found in a span depends on the span, so a plan is of no use for another one.
            await connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
            # In the snapshot of the statement, because what is sealed and what is not has to be all there is.
            sealed = await ledger.sealed_until(connection) if span is None else None
            found = await _violations(
                connection, id, check, span or Span(sealed or ALWAYS.since, END)
            )
        yield id, found
        await asyncio.sleep(rest * (time.monotonic() - began))


def _all(checks: Sequence[Checks]) -> list[tuple[str, TextClause]]:
    return [(id, check) for each in checks for id, some in each.items() for check in some]


async def _violations(
    connection: AsyncConnection, invariant: str, check: TextClause, span: Span
) -> list[Violation]:
    rows = await connection.execute(check, span._asdict())
    return [Violation(invariant, row.subject, row.what) for row in rows]


async def _broken_seals(connection: AsyncConnection, span: Span) -> list[Violation]:
    # No sealed transfer was changed, added or taken away.
    return [
        Violation(
            SEALS, f"{each.seal.since.isoformat()} to {each.seal.until.isoformat()}", each.what
        )
        for each in await ledger.broken_seals(connection, span.since, span.until)
    ]


def _log(found: Sequence[Violation]) -> int:
    for each in found[:20]:
        log.error(
            "invariant_violated",
            invariant=each.invariant,
            name=each.name,
            subject=each.subject,
            what=each.what,
        )
    return len(found)


def _tell(of: str, faults: dict[str, int]) -> None:
    for id, count in faults.items():
        VIOLATIONS.labels(id, of).set(count)
