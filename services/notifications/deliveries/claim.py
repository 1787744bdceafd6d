"""Claim due deliveries under a lease: no other sender sends them before it ends, and a sender that dies loses none.

A lane is a medium and a channel. Each lane is claimed up to its own free places, so that a lane whose receiver hangs
fills only its own places.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.notifications.deliveries.outcomes import Delivery
from services.notifications.recipients.addresses import ADDRESS_COLUMNS, ADDRESS_JOINS, address_of

# Longer than any attempt may take (mail: 30 s), and short enough that mail of a dead sender is not much delayed.
LEASE_SECONDS = 120.0

Lane = tuple[str, str]  # medium, channel

_DUE = """
    SELECT d.id, lane.medium
    FROM unnest(CAST(:media AS text[]), CAST(:channels AS text[]), CAST(:places AS integer[]))
        AS lane (medium, channel, places)
    CROSS JOIN LATERAL (
        SELECT id FROM deliveries
        WHERE medium = lane.medium AND channel = lane.channel AND status = 'pending' AND next_attempt_at <= now()
            AND id <> ALL(CAST(:stuck AS uuid[]))
        ORDER BY next_attempt_at LIMIT lane.places {lock}
    ) AS d
"""
_NAMED = """
    SELECT id FROM deliveries
    WHERE id = ANY(CAST(:ids AS uuid[])) AND status = 'pending' AND next_attempt_at <= now()
    FOR UPDATE SKIP LOCKED
"""
_CLAIM = f"""
    WITH due AS MATERIALIZED ({{due}}), claimed AS (
        UPDATE deliveries d SET attempts = attempts + 1, lease = :lease,
            next_attempt_at = now() + make_interval(secs => :lease_seconds)
        FROM due WHERE d.id = due.id
        RETURNING d.*
    )
    SELECT c.id, c.lease, c.event_id, c.event_type, c.medium, c.channel, c.body, c.attempts, c.created_at,
        c.correlation_id, c.traceparent, {ADDRESS_COLUMNS}
    FROM claimed c {ADDRESS_JOINS}
"""  # noqa: S608 - fixed words
_LIST_DUE = text(_DUE.format(lock=""))
_CLAIM_DUE = text(_CLAIM.format(due=_DUE.format(lock="FOR UPDATE SKIP LOCKED")))
_CLAIM_NAMED = text(_CLAIM.format(due=_NAMED))


async def claim(
    connection: AsyncConnection, places: Mapping[Lane, int], stuck: Collection[UUID] = ()
) -> list[Delivery]:
    """Claim up to `places` due deliveries of each lane, in the caller's transaction, one statement; none of `stuck`.

    The attempt is counted here and not with its outcome, so that a delivery which kills its sender is not tried for
    ever.
    """
    free = _free(places, stuck)
    if not free["media"]:
        return []
    rows = await connection.execute(_CLAIM_DUE, {**free, **_lease()})
    return [_delivery(row) for row in rows]


async def list_due(
    connection: AsyncConnection, places: Mapping[Lane, int], stuck: Collection[UUID]
) -> list[tuple[UUID, str]]:
    """Return id and medium of the deliveries that `claim` would claim. Reads no other columns and locks nothing."""
    rows = await connection.execute(_LIST_DUE, _free(places, stuck))
    return [(row.id, row.medium) for row in rows]


async def claim_these(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Delivery]:
    """Claim those of these deliveries that are still due, as `claim` does."""
    rows = await connection.execute(_CLAIM_NAMED, {"ids": ids, **_lease()})
    return [_delivery(row) for row in rows]


def _free(places: Mapping[Lane, int], stuck: Collection[UUID]) -> dict[str, list[Any]]:
    free = {lane: number for lane, number in places.items() if number > 0}
    return {
        "media": [medium for medium, _ in free],
        "channels": [channel for _, channel in free],
        "places": list(free.values()),
        "stuck": list(stuck),
    }


def _lease() -> dict[str, Any]:
    return {"lease": uuid4(), "lease_seconds": LEASE_SECONDS}


def _delivery(row: Row[Any]) -> Delivery:
    return Delivery(
        id=row.id,
        lease=row.lease,
        event_id=row.event_id,
        event_type=row.event_type,
        medium=row.medium,
        channel=row.channel,
        body=bytes(row.body),
        attempts=row.attempts,
        created_at=row.created_at,
        correlation_id=row.correlation_id,
        traceparent=row.traceparent,
        address=address_of(row),
    )
