"""Bury records: write their dead letters and notify the service about them, in one transaction.

This package does not know what records are about: a service passes a `Buried` callback when it subscribes.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import UUID

import structlog
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from events import bounds
from messaging.consumer import metrics
from messaging.consumer.dead_letter import dead_letter
from messaging.outbox import enqueue
from messaging.record import Record
from messaging.transient import is_transient

log = structlog.get_logger()


@dataclass(slots=True)
class Dead:
    """A record that cannot be used. `reason` is a short code; `text` holds nothing of the record's content."""

    record: Record
    reason: str
    text: str
    attempts: int = 1
    first_failed_at: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def message_id(self) -> UUID | None:
        """The record's ce_id.

        It identifies a message; a key does not, because anybody may write a record of any key.
        """
        return uuid_in(dict(self.record.headers).get("ce_id"))

    @property
    def key_id(self) -> UUID | None:
        """The record's key, when it is an id."""
        return uuid_in(self.record.key)

    @property
    def public_reason(self) -> str:
        """The reason for readers outside: the class name of an unexpected error means nothing to them."""
        return self.reason[: bounds.REASON] if self.reason.islower() else "command_failed"


# Called in the transaction that writes the dead letters of these records, and again when that transaction is repeated.
Buried = Callable[[AsyncConnection, Sequence[Dead]], Awaitable[None]]


async def bury(
    engine: AsyncEngine, group: str, dead: Sequence[Dead], buried: Buried | None
) -> None:
    """Write the dead letters of these records, all of one topic. Raises the database's errors."""
    if not dead:
        return
    letters = [
        dead_letter(
            each.record,
            group,
            each.reason,
            each.text,
            attempts=each.attempts,
            first_failed_at=each.first_failed_at,
        )
        for each in dead
    ]
    async with engine.begin() as connection:
        await enqueue(connection, letters)
        if buried:
            await _notify(connection, group, dead, buried)
    for each in dead:
        metrics.DEAD_LETTERS.labels(each.record.topic, group, each.reason).inc()
        log.warning(
            "dead_letter",
            topic=each.record.topic,
            partition=each.record.partition,
            offset=each.record.offset,
            group=group,
            reason=each.reason,
            text=each.text,
        )
    metrics.RECORDS.labels(dead[0].record.topic, group, "dead").inc(len(dead))


def uuid_in(raw: bytes | None) -> UUID | None:
    """Return the UUID in these bytes, or None."""
    try:
        return UUID((raw or b"").decode())
    except ValueError:
        return None


async def _notify(
    connection: AsyncConnection, group: str, dead: Sequence[Dead], buried: Buried
) -> None:
    try:
        async with connection.begin_nested():
            await buried(connection, dead)
    except Exception as error:
        if is_transient(error):
            raise
        # An error of the callback must neither lose the letters nor hold up the partition.
        name = type(error).__name__
        metrics.FAILURES.labels(dead[0].record.topic, group, name).inc()
        log.exception("buried_callback_failed", group=group, records=len(dead))
