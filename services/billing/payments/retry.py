"""When to ask again, and whose result counts. Shared by payments, refunds and top-ups."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.payments.model import Call
from services.billing.subject import Subject

# Asking again: 2 s, 4 s, 8 s … and then every 10 minutes for as long as it takes.
FIRST_RETRY_SECONDS = 2.0
LONGEST_RETRY_SECONDS = 600.0
# While a payer is confirming we look this often; the PSP's webhook usually comes first.
ACTION_POLL_SECONDS = 15.0
# What nobody could say for this long becomes a case for finance ops; we go on asking.
CASE_AFTER = timedelta(hours=24)

_CALLS = text("""
    INSERT INTO outside_calls (subject, subject_kind, leg, outcome, detail, started_at, duration_ms)
    SELECT * FROM unnest(CAST(:subjects AS uuid[]), CAST(:subject_kinds AS text[]), CAST(:legs AS text[]),
        CAST(:outcomes AS text[]), CAST(:details AS text[]), CAST(:started AS timestamptz[]), CAST(:durations AS int[]))
""")


def retry_seconds(attempts: int) -> float:
    """How long to wait before asking again after this many attempts."""
    return min(FIRST_RETRY_SECONDS * 2.0 ** min(attempts, 20), LONGEST_RETRY_SECONDS)


def is_news(rank: int, rank_now: int, *, current: bool, gives_up: bool) -> bool:
    """Whether a result is to be recorded over a row that is still open and locked.

    Two processes may have worked on it: one was slow, and the timer took it up. Only the `current` one, which took it
    up last, may give up or repeat; the other one counts when it came further, so that no success is lost.
    """
    return rank >= rank_now if current else rank > rank_now and not gives_up


def overdue(leg: str | None, since: datetime | None, now: datetime) -> str | None:
    """The note of the case that a leg without an answer becomes; nothing while it is young."""
    if leg is None or since is None or now - since < CASE_AFTER:
        return None
    return (
        f"{leg} has had no answer since {since:%F %T %Z}; it is asked for again until there is one"
    )


async def record_calls(connection: AsyncConnection, calls: Sequence[tuple[Subject, Call]]) -> None:
    """Write down what was asked outside, and what came of it."""
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
