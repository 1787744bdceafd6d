"""Cases: outcomes that only a person can decide. Finance ops list and close them.

A case is opened in the transaction that records its cause, and closed, with a reason, in the one that records the end
of its cause. A result that cannot be recorded and a call that failed open their case in a transaction of their own,
with everything that the external calls returned, so that finance ops sees it immediately and not only after the payment
has been open for a day.
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
# Kinds that a person has to see although the payment, refund or top-up has ended.
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

# The kinds for which the gauge has a series, so that a kind without open cases goes back to 0.
_counted: set[str] = set()


class NewCase(NamedTuple):
    """A case to open. `note` says what happened and what to do; it holds no personal data."""

    subject: Subject
    kind: str
    note: str


@dataclass(frozen=True, slots=True)
class Case:
    """A case, open or closed."""

    id: int
    subject: UUID
    subject_kind: str
    kind: str
    note: str
    opened_at: datetime
    closed_at: datetime | None
    closed_because: str | None


class Result(HasCalls, Protocol):
    """The result of one run, with a summary in words."""

    def summary(self) -> str:
        """Return a summary: the state that was reached, the PSP's ids, the call without a response."""
        ...


async def open_cases(connection: AsyncConnection, cases: Sequence[NewCase]) -> None:
    """Open these cases in the caller's transaction; a case of a kind that is open already stays as it is."""
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
    """Close the cases about these subjects, with the reason given for each. Cases of a LASTING kind stay open."""
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
    """Close the case of a LASTING kind about this subject: a person has dealt with its cause."""
    about = {"id": subject.id, "subject_kind": subject.kind, "kind": kind, "why": why}
    await connection.execute(_CLOSE_LASTING, about)


async def find_cases(connection: AsyncConnection, *, closed: bool = False) -> list[Case]:
    """Return the open cases, oldest first; with `closed` the closed ones as well."""
    return [Case(*row) for row in await connection.execute(_LIST, {"closed": closed})]


async def close_by_hand(connection: AsyncConnection, id: int) -> bool:
    """Close a case; return False when it is not open. A cause that goes on opens a new case at the next attempt."""
    return (await connection.execute(_CLOSE_BY_HAND, {"id": id})).first() is not None


async def open_for_result(engine: AsyncEngine, result: Result, error: Exception) -> None:
    """Open the case of a result that cannot be recorded, with a summary of the result.

    Raises the database's errors.
    """
    note = (
        f"the institutions responded ({result.summary()}), and recording that failed ({type(error).__name__})."
        " Look for record_failed in the log and remove the cause: the result is then recorded, and this case closes"
    )
    case = NewCase(result.subject, "unrecorded_result", note)
    try:
        async with engine.begin() as connection:
            await record_calls(connection, [result])
            await open_cases(connection, [case])
    except Exception as again:
        if is_transient(again):
            raise
        # The calls themselves may be the rows that cannot be written.
        async with engine.begin() as connection:
            await open_cases(connection, [case])


async def open_for_failed_call(engine: AsyncEngine, subject: Subject, error: Exception) -> None:
    """Open the case of a call that raised an error in our code. Raises the database's errors."""
    note = (
        f"a call failed at {datetime.now(UTC):%F %T} UTC with an error in our code or configuration"
        f" ({type(error).__name__}). Look for outside_call_failed in the log and remove the cause: the call is then"
        " repeated, and this case closes"
    )
    async with engine.begin() as connection:
        await open_cases(connection, [NewCase(subject, "failed_call", note)])


async def count_open(engine: AsyncEngine) -> int:
    """Set the gauge of open cases. Always returns 0, because nothing is left to do."""
    async with engine.connect() as connection:
        counts = {row.kind: row.cases for row in await connection.execute(_COUNT)}
    _counted.update(counts)
    for kind in _counted:
        OPEN.labels(kind).set(counts.get(kind, 0))
    return 0
