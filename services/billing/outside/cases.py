"""Cases: what only a person can decide, and what must not be lost. Finance ops list and close them.

A case is opened in the transaction that records what it tells of, and closed, with why, in the one that records its
end. A result that can't be recorded, and a call that broke, open theirs in a transaction of their own, with what was
learnt outside: so it is known at once, and not only when the payment has been open for a day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol
from uuid import UUID

from prometheus_client import Counter, Gauge
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.database import one_of
from events import bounds
from messaging.transient import is_transient
from services.billing.outside.calls import HasCalls, record_calls
from services.billing.outside.tables import LONGEST_NOTE
from services.billing.subject import Subject

_OPEN = text("""
    INSERT INTO cases (subject, subject_kind, kind, note)
    SELECT * FROM unnest(CAST(:subjects AS uuid[]), CAST(:subject_kinds AS text[]), CAST(:kinds AS text[]),
        CAST(:notes AS text[]))
    ON CONFLICT DO NOTHING RETURNING kind
""")
# What a person has to see although the payment, refund or top-up has ended.
LASTING = ("contradiction", "late_success", "late_word", "refund_failed_late", "refund_stuck")
_CLOSE = text(f"""
    UPDATE cases c SET closed_at = now(), closed_because = e.why
    FROM unnest(CAST(:subjects AS uuid[]), CAST(:subject_kinds AS text[]), CAST(:whys AS text[]))
        AS e (subject, subject_kind, why)
    WHERE c.subject = e.subject AND c.subject_kind = e.subject_kind AND c.closed_at IS NULL
      AND NOT {one_of("c.kind", LASTING)}
""")  # noqa: S608 - our own words
_CLOSE_LASTING = text("""
    UPDATE cases SET closed_at = now(), closed_because = :why
    WHERE subject = :id AND subject_kind = :subject_kind AND kind = :kind AND closed_at IS NULL
""")
_LIST = text("""
    SELECT id, subject, subject_kind, kind, note, opened_at, closed_at, closed_because FROM cases
    WHERE :closed OR closed_at IS NULL ORDER BY id
""")
_CLOSE_BY_HAND = text("""
    UPDATE cases SET closed_at = now(), closed_because = 'closed by hand' WHERE id = :id AND closed_at IS NULL
    RETURNING id
""")
_COUNT = text("SELECT kind, count(*) AS cases FROM cases WHERE closed_at IS NULL GROUP BY kind")

OPENED = Counter("cases_opened_total", "Cases that this process opened", ["kind"])
OPEN = Gauge("cases_open", "Cases that are open now, counted by the timer", ["kind"])

# The kinds that the gauge has a series of: one that has no open case any more goes back to 0.
_counted: set[str] = set()


class NewCase(NamedTuple):
    """A case to be opened. `note` says what a person has to know and may do; it holds no personal data."""

    subject: Subject
    kind: str
    note: str


@dataclass(frozen=True, slots=True)
class Case:
    """Something that a person has to look into."""

    id: int
    subject: UUID
    subject_kind: str
    kind: str
    note: str
    opened_at: datetime
    closed_at: datetime | None
    closed_because: str | None


class Result(HasCalls, Protocol):
    """What was learnt outside about one subject, in words as well."""

    def learnt(self) -> str:
        """In words: the state that was reached, the PSP's ids, the call without an answer."""
        ...


async def open_cases(connection: AsyncConnection, cases: Sequence[NewCase]) -> None:
    """Open these cases in the caller's transaction; one of a kind that is open already stays as it is."""
    if not cases:
        return
    opened = await connection.execute(
        _OPEN,
        {
            "subjects": [each.subject.id for each in cases],
            "subject_kinds": [each.subject.kind for each in cases],
            "kinds": [each.kind for each in cases],
            "notes": [bounds.storable(each.note, LONGEST_NOTE) for each in cases],
        },
    )
    for kind in opened.scalars():
        OPENED.labels(kind).inc()


async def close_cases(connection: AsyncConnection, subjects: Mapping[Subject, str]) -> None:
    """Close the cases about these subjects, each with why: what they told of is over. LASTING ones stay open."""
    if not subjects:
        return
    await connection.execute(
        _CLOSE,
        {
            "subjects": [each.id for each in subjects],
            "subject_kinds": [each.kind for each in subjects],
            "whys": list(subjects.values()),
        },
    )


async def close_lasting(connection: AsyncConnection, subject: Subject, kind: str, why: str) -> None:
    """Close the case of a LASTING kind about this subject: a person has ended what it tells of."""
    about = {"id": subject.id, "subject_kind": subject.kind, "kind": kind, "why": why}
    await connection.execute(_CLOSE_LASTING, about)


async def find_cases(connection: AsyncConnection, *, closed: bool = False) -> list[Case]:
    """The open cases, oldest first; with `closed` those as well."""
    return [Case(*row) for row in await connection.execute(_LIST, {"closed": closed})]


async def close_by_hand(connection: AsyncConnection, id: int) -> bool:
    """Close a case; False when it is not open. What still goes on opens the next one at its next attempt."""
    return (await connection.execute(_CLOSE_BY_HAND, {"id": id})).first() is not None


async def open_for_result(engine: AsyncEngine, result: Result, error: Exception) -> None:
    """Open the case of a result that can't be recorded, with what was learnt outside.

    Raises what the database raises.
    """
    note = (
        f"{result.learnt()}; this could not be recorded ({type(error).__name__}). It is asked for and tried again until"
        " it can be: mend the cause, and this case closes itself"
    )
    case = NewCase(result.subject, "unrecorded_result", note)
    try:
        async with engine.begin() as connection:
            await record_calls(connection, [result])
            await open_cases(connection, [case])
    except Exception as again:
        if is_transient(again):
            raise
        # The calls themselves may be what can't be written.
        async with engine.begin() as connection:
            await open_cases(connection, [case])


async def open_for_failed_call(engine: AsyncEngine, subject: Subject, error: Exception) -> None:
    """Open the case of a call that broke before it had a result. Raises what the database raises."""
    note = (
        f"asking outside broke at {datetime.now(UTC):%F %T} UTC ({type(error).__name__}). It is asked again until it"
        " works: see outside_call_failed in the log for the cause and mend it; this case closes itself"
    )
    async with engine.begin() as connection:
        await open_cases(connection, [NewCase(subject, "failed_call", note)])


async def count_open(engine: AsyncEngine) -> int:
    """Set the gauge of open cases. Always returns 0, because nothing is left to do."""
    async with engine.connect() as connection:
        found = {row.kind: row.cases for row in await connection.execute(_COUNT)}
    _counted.update(found)
    for kind in _counted:
        OPEN.labels(kind).set(found.get(kind, 0))
    return 0
