"""Recording, for payments, refunds and top-ups: which result counts, its calls and cases, the end of its errand."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Errand, ErrandRun, Key
from services.billing.outside.cases import NewCase, close_cases
from services.billing.subject import Subject

# The pause between queries while a payer is confirming; the PSP's webhook usually comes first.
ACTION_POLL_SECONDS = 15.0
# A call without a response for this long becomes a case for finance ops; the calls go on.
CASE_AFTER = timedelta(hours=24)


class Recordable(Protocol):
    """The progress of a payment, refund or top-up, as far as recording needs it."""

    run: ErrandRun
    case: str | None

    @property
    def subject(self) -> Subject: ...

    @property
    def state(self) -> str: ...


ResultT = TypeVar("ResultT", bound=Recordable)


def is_held(locked: Mapping[Key, Row[Any]], errand: Errand) -> bool:
    """Return True when this claim of the errand is the latest one, by its locked row."""
    row = locked.get(errand.key)
    return row is not None and row.fence == errand.fence


def supersedes(rank: int, rank_now: int, *, held: bool, ends_without_success: bool) -> bool:
    """Return True when a result is to be recorded over a row that is still open and locked.

    Two processes may have worked on the row: the first was slow, and another one claimed it. Only the process that
    holds the errand may end it without success or repeat a state; the other one's result counts when it came further,
    so that no success is lost.
    """
    return rank >= rank_now if held else rank > rank_now and not ends_without_success


def furthest_results(
    results: Sequence[ResultT],
    rows: Sequence[Row[Any]],
    locked: Mapping[Key, Row[Any]],
    ranks: Mapping[str, int],
    failures: Collection[str],
) -> list[tuple[ResultT, Row[Any]]]:
    """For each of these open and locked rows, return the result that came furthest, if it supersedes the row.

    `ranks`: a number for each state, higher for further. `failures`: the ends without success.
    """
    open_rows = {row.id: row for row in rows}
    superseding: dict[UUID, tuple[ResultT, Row[Any]]] = {}
    for each in sorted(results, key=lambda each: ranks[each.state]):
        row = open_rows.get(each.subject.id)
        if row is not None and supersedes(
            ranks[each.state],
            ranks[row.state],
            held=is_held(locked, each.run.errand),
            ends_without_success=each.state in failures,
        ):
            superseding[row.id] = each, row
    return list(superseding.values())


async def record_errands(
    connection: AsyncConnection,
    results: Sequence[Recordable],
    locked: Mapping[Key, Row[Any]],
    ended: Collection[Subject],
) -> None:
    """Update the errands of these results. Where the subject has ended, delete the errand and close its cases."""
    over = set(ended)
    held = [each for each in results if is_held(locked, each.run.errand)]
    await errands.end(connection, list(over))
    await errands.settle(connection, [each.run for each in held if each.subject not in over])
    # An errand that was answered at its first try has no case.
    troubled = {key for key, row in locked.items() if row.tries or row.contested or row.fence}
    closed = dict.fromkeys((each for each in over if each in troubled), "it has ended")
    for each in held:
        if each.subject in troubled and each.subject not in over and not each.run.was_sent:
            closed[each.subject] = f"the call was answered; the next call is {each.run.leg}"
    await close_cases(connection, closed)


def overdue(run: ErrandRun, row: Row[Any]) -> str | None:
    """Return the note of the case about a leg without a response; None while it is young. `row` is the errand's."""
    since: datetime | None = row.unknown_since if run.leg == row.leg else None
    if not run.unanswered or since is None or row.now - since < CASE_AFTER:
        return None
    return (
        f"the {run.leg} call has had no response since {since:%F %T %Z}. It is repeated until one comes: ask the"
        " institution which state it has recorded, and when it will respond again"
    )


def cases_of(result: Recordable, locked: Mapping[Key, Row[Any]], kind: str) -> list[NewCase]:
    """Return the case that this result opens, if any: one that its legs noted, or a response that is overdue."""
    if result.case:
        return [NewCase(result.subject, kind, result.case)]
    row = locked.get(result.run.errand.key)
    note = overdue(result.run, row) if row is not None else None
    return [NewCase(result.subject, f"unknown_{result.run.leg}", note)] if note else []
