"""Record the outcomes of deliveries as a set, and publish events about those that ended."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events import bounds
from events.notifications import NotificationDelivered, NotificationFailed
from messaging.outbox import Outgoing, enqueue
from services.notifications.deliveries.outcomes import Delivered, Delivery, Later, Never, Outcome

_HOUR = 3_600.0
# After a short failure the next try follows in seconds; after a long one, twice a day for 2.8 days in all (payment
# providers retry for three days). Then a person has to look.
PAUSES_SECONDS = (5.0, 30.0, 120.0, 600.0, _HOUR, 6 * _HOUR, *[12 * _HOUR] * 5)
MOST_ATTEMPTS = len(PAUSES_SECONDS) + 1

# ANY repeats the condition for the planner, which has no statistics of unnest and would read the whole table for a few
# rows.
_RECORD = text("""
    UPDATE deliveries d SET
        status = o.status, reason = o.reason, lease = NULL,
        next_attempt_at = CASE WHEN o.status = 'pending' THEN now() + make_interval(secs => o.pause_seconds) END,
        ended_at = CASE WHEN o.status <> 'pending' THEN now() END,
        version = d.version + CASE WHEN o.status = 'pending' THEN 0 ELSE 1 END
    FROM unnest(
        CAST(:ids AS uuid[]), CAST(:leases AS uuid[]), CAST(:statuses AS text[]), CAST(:reasons AS text[]),
        CAST(:pauses AS double precision[])
    ) AS o (id, lease, status, reason, pause_seconds)
    WHERE d.id = o.id AND d.lease = o.lease AND d.id = ANY(CAST(:ids AS uuid[]))
    RETURNING d.id, d.event_id, d.channel, d.medium, d.attempts, d.version, d.status, d.reason
""")


@dataclass(frozen=True, slots=True)
class Attempt:
    """A delivery and the outcome of this attempt."""

    delivery: Delivery
    outcome: Outcome


async def record(connection: AsyncConnection, attempts: Sequence[Attempt]) -> int:
    """Record the attempts in the caller's transaction; return how many counted.

    An attempt whose lease has ended does not count: another sender has the delivery by now and records it.
    """
    if not attempts:
        return 0
    columns = [_row(each) for each in attempts]
    statuses, reasons, pauses = zip(*columns, strict=True)
    rows = await connection.execute(
        _RECORD,
        {
            "ids": [each.delivery.id for each in attempts],
            "leases": [each.delivery.lease for each in attempts],
            "statuses": statuses,
            "reasons": reasons,
            "pauses": pauses,
        },
    )
    recorded = rows.all()
    deliveries = {each.delivery.id: each.delivery for each in attempts}
    await enqueue(
        connection,
        [
            event_of(row, deliveries[row.id].correlation_id, deliveries[row.id].traceparent)
            for row in recorded
            if row.status != "pending"
        ],
    )
    return len(recorded)


def event_of(
    row: Any, correlation_id: str | None = None, traceparent: str | None = None
) -> Outgoing:
    """Return the event about a delivery that ended. `row` has the columns that _RECORD returns."""
    about = {
        "delivery_id": row.id,
        "event_id": row.event_id,
        "channel": row.channel,
        "medium": row.medium,
        "attempts": row.attempts,
    }
    event = (
        NotificationDelivered.model_validate(about)
        if row.status == "delivered"
        else NotificationFailed.model_validate({**about, "reason": row.reason})
    )
    return Outgoing.of(event, row.version, correlation_id, traceparent)


def pause_seconds(attempts: int) -> float | None:
    """Return the pause after this many attempts, give or take a fifth; None after the last one."""
    if attempts > len(PAUSES_SECONDS):
        return None
    # Deliveries that failed at the same time must not be tried again at the same time.
    return PAUSES_SECONDS[attempts - 1] * random.uniform(0.8, 1.2)


def _row(attempt: Attempt) -> tuple[str, str | None, float | None]:
    # status, reason, pause
    match attempt.outcome:
        case Delivered():
            return "delivered", None, None
        case Never(reason):
            return "failed", reason[: bounds.REASON], None
        case Later(reason):
            pause = pause_seconds(attempt.delivery.attempts)
            return ("failed" if pause is None else "pending"), reason[: bounds.REASON], pause
