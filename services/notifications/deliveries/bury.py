"""End a delivery that cannot be claimed or recorded normally, in its own transaction and with as little data as
possible.

First with an event of ids and codes only, without correlation id and trace; if the outbox refuses that, too, without an
event. A delivery that cannot be ended at all stays pending, and this process leaves it alone.
"""

from dataclasses import dataclass
from uuid import UUID

import structlog
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.outbox import enqueue
from services.notifications import metrics
from services.notifications.deliveries.narrow import is_of_a_row, sqlstate
from services.notifications.deliveries.outcomes import Delivered
from services.notifications.deliveries.record import Attempt, event_of

# Without a lease: a delivery that could not be claimed, so it must still be due.
_BURY = text("""
    UPDATE deliveries SET status = :status, reason = :reason, lease = NULL, next_attempt_at = NULL, ended_at = now(),
        version = version + 1
    WHERE id = :id AND status = 'pending' AND CASE
        WHEN CAST(:lease AS uuid) IS NULL THEN next_attempt_at <= now() ELSE lease = CAST(:lease AS uuid) END
    RETURNING id, event_id, channel, medium, attempts, status, reason, version
""")

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Burial:
    """The end of a delivery that the database refuses."""

    id: UUID
    medium: str
    lease: UUID | None
    status: str
    reason: str | None


def of_attempt(attempt: Attempt) -> Burial:
    """Return the burial of an attempt that cannot be recorded.

    If it was delivered it ends so, and is never sent again.
    """
    delivery = attempt.delivery
    if isinstance(attempt.outcome, Delivered):
        return Burial(delivery.id, delivery.medium, delivery.lease, "delivered", None)
    return Burial(delivery.id, delivery.medium, delivery.lease, "failed", "unrecordable")


def of_unclaimed(id: UUID, medium: str) -> Burial:
    """Return the burial of a delivery that cannot be claimed, and so was not sent."""
    return Burial(id, medium, None, "failed", "unclaimable")


async def bury(engine: AsyncEngine, burial: Burial, cause: Exception) -> bool:
    """End the delivery, if it is still ours; return False when it cannot be ended and must not be claimed again.

    Raises errors that are not caused by this row.
    """
    for end in ("published", "unpublished"):
        try:
            ended = await _end(engine, burial, publishing=end == "published")
        except Exception as error:
            if not is_of_a_row(error):
                raise
            cause = error
        else:
            if ended:
                _report(burial, end, cause)
            return True
    _report(burial, "stuck", cause)
    return False


async def _end(engine: AsyncEngine, burial: Burial, *, publishing: bool) -> bool:
    values = {
        "id": burial.id,
        "lease": burial.lease,
        "status": burial.status,
        "reason": burial.reason,
    }
    async with engine.begin() as connection:
        row = (await connection.execute(_BURY, values)).one_or_none()
        if row is not None and publishing:
            await enqueue(connection, [event_of(row)])
    return row is not None


def _report(burial: Burial, end: str, cause: Exception) -> None:
    metrics.BURIED.labels(burial.medium, end).inc()
    # The text of an error may quote the row, so only its class and its code are logged.
    log.error(
        "delivery_buried",
        delivery=str(burial.id),
        end=end,
        status="pending" if end == "stuck" else burial.status,
        error=type(cause).__name__,
        state=sqlstate(cause),
    )
