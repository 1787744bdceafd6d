"""What recording payments, refunds and top-ups has in common: whose result counts, calls, cases, the errand's end."""

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Errand, Key, Turn
from services.billing.outside.cases import NewCase, close_cases
from services.billing.subject import Subject

# While a payer is confirming we look this often; the PSP's webhook usually comes first.
ACTION_POLL_SECONDS = 15.0
# What nobody could say for this long becomes a case for finance ops; we go on asking.
CASE_AFTER = timedelta(hours=24)


class Recordable(Protocol):
    """How far a payment, a refund or a top-up came: what recording all of them needs."""

    turn: Turn
    case: str | None

    @property
    def subject(self) -> Subject: ...

    @property
    def state(self) -> str: ...


ResultT = TypeVar("ResultT", bound=Recordable)


def is_held(locked: Mapping[Key, Row[Any]], errand: Errand) -> bool:
    """Whether this claim of the errand is the last one, by its locked row."""
    row = locked.get(errand.key)
    return row is not None and row.fence == errand.fence


def is_news(rank: int, rank_now: int, *, held: bool, gives_up: bool) -> bool:
    """Whether a result is to be recorded over a row that is still open and locked.

    Two processes may have worked on it: one was slow, and another one claimed it. Only the one that holds the errand
    may give up or repeat; the other one counts when it came further, so that no success is lost.
    """
    return rank >= rank_now if held else rank > rank_now and not gives_up


def furthest(
    results: Sequence[ResultT],
    rows: Sequence[Row[Any]],
    locked: Mapping[Key, Row[Any]],
    ranks: Mapping[str, int],
    giving_up: Collection[str],
) -> list[tuple[ResultT, Row[Any]]]:
    """Of the results over each of these rows, which are open and locked, the one that came furthest, if it is news.

    `ranks`: how far each state is. `giving_up`: the ends without success.
    """
    open_rows = {row.id: row for row in rows}
    found: dict[UUID, tuple[ResultT, Row[Any]]] = {}
    for each in sorted(results, key=lambda each: ranks[each.state]):
        row = open_rows.get(each.subject.id)
        if row is not None and is_news(
            ranks[each.state],
            ranks[row.state],
            held=is_held(locked, each.turn.errand),
            gives_up=each.state in giving_up,
        ):
            found[row.id] = each, row
    return list(found.values())


async def record_errands(
    connection: AsyncConnection,
    results: Sequence[Recordable],
    locked: Mapping[Key, Row[Any]],
    ended: Collection[Subject],
) -> None:
    """Write where the errands of these results stand; those of what has ended go, and so do the cases about them."""
    over = set(ended)
    held = [each for each in results if is_held(locked, each.turn.errand)]
    await errands.end(connection, list(over))
    await errands.settle(connection, [each.turn for each in held if each.subject not in over])
    # One that was answered at its first try has no case.
    troubled = {key for key, row in locked.items() if row.tries or row.contested or row.fence}
    closed = dict.fromkeys((each for each in over if each in troubled), "it has ended")
    for each in held:
        if each.subject in troubled and each.subject not in over and not each.turn.was_sent:
            closed[each.subject] = f"it was answered, and goes on with {each.turn.leg}"
    await close_cases(connection, closed)


def overdue(turn: Turn, row: Row[Any]) -> str | None:
    """The note of the case that a leg without an answer becomes; nothing while it is young. `row`: of the errand."""
    since: datetime | None = row.unknown_since if turn.leg == row.leg else None
    if not turn.unanswered or since is None or row.now - since < CASE_AFTER:
        return None
    return f"{turn.leg} has had no answer since {since:%F %T %Z}; it is asked for again until there is one"


def case_of(result: Recordable, locked: Mapping[Key, Row[Any]], kind: str) -> list[NewCase]:
    """The case that this result opens: what its legs found, or an answer that is overdue."""
    if result.case:
        return [NewCase(result.subject, kind, result.case)]
    row = locked.get(result.turn.errand.key)
    note = overdue(result.turn, row) if row is not None else None
    return [NewCase(result.subject, f"unknown_{result.turn.leg}", note)] if note else []
