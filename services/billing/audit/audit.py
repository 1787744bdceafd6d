"""Audit: prove the invariants from the rows. The timer runs it every five minutes; an operator runs `meterhall
audit`.

A violation means that money, proof and state disagree: an operator must look at once, so it raises an alarm.

The timer's audit judges rows that are not sealed yet and rows that were sealed since the last audit, whatever the
size of the ledger. Each time it also judges some older seals again, so that each has its turn within a week (decision
13). The operator's audit reads everything.
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
from services.billing.audit.by_span import BY_SPAN, DUE_AFTER
from services.billing.audit.current import BALANCES, BUCKETS, CURRENT
from services.billing.audit.names import MEANINGS, SEALS
from services.billing.audit.span import ALWAYS, END, Checks, Span, of_a_span, of_everything

AUDIT_SECONDS = 300.0
# Each sealed span is judged again within this time.
ROUND = timedelta(days=7)
# A statement may take seconds on a large ledger. After each, the job rests for this many times as long, so that
# payments which had to wait catch up.
REST = 9.0
# The most new seals that one audit judges. There are more after an upgrade, when the past is sealed.
MOST_NEW = 60

VIOLATIONS = Gauge(
    "invariant_violations",
    "Violations that the last audit found, by invariant, in sealed rows and in rows that are not sealed yet.",
    ["id", "of"],
)
IDS = [*dict.fromkeys([*CURRENT, *BY_SPAN])]
_EVERYTHING = [of_everything(each) for each in (CURRENT, BALANCES, BY_SPAN)]
_UNSEALED = [of_a_span(each) for each in (CURRENT, BUCKETS, BY_SPAN)]
_SEALED = [of_a_span(BY_SPAN)]
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
    """A violation: the invariant's name, the row that violates it, and the contradiction in words."""

    invariant: str
    subject: str
    what: str

    @property
    def meaning(self) -> str:
        """The invariant as a sentence."""
        return MEANINGS[self.invariant]


async def audit(connection: AsyncConnection) -> list[Violation]:
    """Return every violation that this connection sees, up to 1,000 for each statement."""
    found = []
    for id, check in _all(_EVERYTHING):
        found += await _violations(connection, id, check, ALWAYS)
    return found + await _broken_seals(connection, ALWAYS)


async def audit_database(engine: AsyncEngine, *, unsealed: bool = False) -> list[Violation]:
    """Audit everything, or only what is not sealed, while others write. Read only; keeps one processor busy."""
    if unsealed:
        return [each async for _, found in _judge(engine, _UNSEALED, None, 0.0) for each in found]
    found = [each async for _, some in _judge(engine, _EVERYTHING, ALWAYS, 0.0) for each in some]
    async with engine.connect() as connection:
        return found + await _broken_seals(connection, ALWAYS)


async def audit_job(engine: AsyncEngine, rest: float = REST) -> int:
    """The timer's job: audit, set the metrics and log violations.

    Returns 0, so that the timer does not run it again at once.

    It takes at most a tenth of one processor.
    """
    of_unsealed = dict.fromkeys(IDS, 0)
    async for id, found in _judge(engine, _UNSEALED, None, rest):
        of_unsealed[id] += _log(found)
    _set_metrics("unsealed", of_unsealed)
    of_sealed = dict.fromkeys([*BY_SPAN, SEALS], 0)
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
    _set_metrics("sealed", of_sealed)
    return 0


async def _to_judge(engine: AsyncEngine) -> tuple[list[Span], datetime]:
    # New spans, spans whose promises have become due since they were judged, those that were judged longest ago, and
    # those with faults, so that an alarm lasts as long as its reason. Returned with the database's time.
    parameters = {
        "share": AUDIT_SECONDS / ROUND.total_seconds(),
        "most": MOST_NEW,
        "due_after": DUE_AFTER,
    }
    async with engine.connect() as connection:
        now = (await connection.execute(text("SELECT now()"))).scalar_one()
        rows = (await connection.execute(_TO_JUDGE, parameters)).all()
    spans: list[Span] = []
    for since, until in rows:
        # Adjacent spans are judged as one.
        begins = spans.pop().since if spans and spans[-1].until == since else since
        spans.append(Span(begins, until))
    return spans, now


async def _judge(
    engine: AsyncEngine, checks: Sequence[Checks], span: Span | None, rest: float
) -> AsyncIterator[tuple[str, list[Violation]]]:
    # Without a span: what is not sealed. Each statement has its own snapshot. One snapshot for all would be held for
    # minutes on a large ledger, and for so long PostgreSQL could not clear away old versions of a biller's balance,
    # which every batch updates: payments would become slow. One processor is enough, because the audit can wait and
    # payments cannot.
    for id, check in _all(checks):
        began = time.monotonic()
        async with engine.connect() as connection:
            await connection.execution_options(
                postgresql_readonly=True, isolation_level="REPEATABLE READ"
            )
            await connection.execute(text("SET LOCAL max_parallel_workers_per_gather = 0"))
            # The number of rows depends on the span, so the plan for one span is wrong for another.
            await connection.execute(text("SET LOCAL plan_cache_mode = force_custom_plan"))
            # Read in the statement's snapshot: sealed and unsealed rows together must be all rows.
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
            meaning=each.meaning,
            subject=each.subject,
            what=each.what,
        )
    return len(found)


def _set_metrics(of: str, faults: dict[str, int]) -> None:
    for id, count in faults.items():
        VIOLATIONS.labels(id, of).set(count)
