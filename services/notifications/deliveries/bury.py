"""End one delivery that can't be claimed or recorded as it is, in the smallest form that fits, in its own transaction.

First with an event made of ids and codes only, without the correlation id and the trace; if the outbox refuses that
too, without an event. What can't be ended at all stays pending, and this process leaves it alone.
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

# Without a lease it is one that could not be claimed, so it must still be due.
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
    """How a delivery that the database refuses has to end."""

    id: UUID
    medium: str
    lease: UUID | None
    status: str
    reason: str | None


def of_attempt(attempt: Attempt) -> Burial:
    """Of an attempt that can't be recorded. What was delivered ends as delivered, so that it is never sent again."""
    delivery = attempt.delivery
    if isinstance(attempt.outcome, Delivered):
        return Burial(delivery.id, delivery.medium, delivery.lease, "delivered", None)
    return Burial(delivery.id, delivery.medium, delivery.lease, "failed", "unrecordable")


def of_unclaimed(id: UUID, medium: str) -> Burial:
    """Of a delivery that can't be claimed, and so was not sent."""
    return Burial(id, medium, None, "failed", "unclaimable")


async def bury(engine: AsyncEngine, burial: Burial, cause: Exception) -> bool:
    """End the delivery, if it is still ours; False when it can't be ended and must not be claimed again.

    Raises what is not this row's fault.
    """
    for end in ("published", "unpublished"):
        try:
            found = await _end(engine, burial, publishing=end == "published")
        except Exception as error:
            if not is_of_a_row(error):
                raise
            cause = error
        else:
            if found:
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
