"""The table of external calls: the history of a payment, refund or top-up shows them."""

from collections.abc import Sequence
from typing import Protocol

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.outside.model import Call
from services.billing.subject import Kind, Subject

_CALLS = text("""
    INSERT INTO outside_calls (subject, subject_kind, leg, outcome, detail, started_at, duration_ms)
    SELECT * FROM unnest(CAST(:subjects AS uuid[]), CAST(:subject_kinds AS text[]), CAST(:legs AS text[]),
        CAST(:outcomes AS text[]), CAST(:details AS text[]), CAST(:started AS timestamptz[]), CAST(:durations AS int[]))
""")

_CALLED = text("""
    SELECT DISTINCT subject_kind, subject FROM outside_calls
    WHERE subject = ANY(CAST(:subjects AS uuid[])) AND leg = ANY(CAST(:legs AS text[]))
""")


class HasCalls(Protocol):
    """The result of one run: the external calls about one subject."""

    calls: list[Call]

    @property
    def subject(self) -> Subject: ...


async def record_calls(connection: AsyncConnection, results: Sequence[HasCalls]) -> None:
    """Insert the external calls of these results, with their outcomes."""
    calls = [(each.subject, call) for each in results for call in each.calls]
    if not calls:
        return
    await connection.execute(
        _CALLS,
        {
            "subjects": [subject.id for subject, _ in calls],
            "subject_kinds": [subject.kind for subject, _ in calls],
            "legs": [call.leg for _, call in calls],
            "outcomes": [call.outcome for _, call in calls],
            "details": [call.detail for _, call in calls],
            "started": [call.started_at for _, call in calls],
            "durations": [call.duration_ms for _, call in calls],
        },
    )


async def subjects_called(
    connection: AsyncConnection, subjects: Sequence[Subject], legs: Sequence[str]
) -> set[Subject]:
    """Return those of these subjects for which a call of one of these legs is recorded."""
    if not subjects:
        return set()
    parameters = {"subjects": [subject.id for subject in subjects], "legs": list(legs)}
    rows = await connection.execute(_CALLED, parameters)
    return {Subject(Kind(row.subject_kind), row.subject) for row in rows}
