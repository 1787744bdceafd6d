"""Leader election: one relay per schema publishes. An advisory lock elects it; an epoch in the cursor fences its
predecessor.

The lead is bound to one direct connection to PostgreSQL and ends with it. A relay that was stopped (SIGSTOP, a frozen
machine) keeps its socket but not its session: idle_session_timeout ends the session, and a standby leads.
"""

import os
import socket
from typing import Any

import asyncpg

from chassis.database import connect_directly
from messaging.outbox import OUTBOX_LOCK, UNPUBLISHED
from messaging.relay.windows import Position

# A leader that is silent for so long has lost the lead; it sends a statement every few seconds even when Kafka is down.
IDLE_SESSION_SECONDS = 15


class HaltedError(Exception):
    """The relay must stop until a person has removed the cause."""


class Lead:
    """The lead of one outbox, held by `connection`."""

    def __init__(self, connection: "asyncpg.Connection[Any]", epoch: int, start: Position) -> None:
        self.connection = connection
        self.start = start
        self._epoch = epoch

    async def save(self, position: Position, highest_id: int) -> None:
        """Store the position up to which all is published. Raises ConnectionError when another relay leads by now."""
        done = await self.connection.execute(
            _SAVE, position.prev, position.cur, position.last_id, highest_id, self._epoch
        )
        if done != "UPDATE 1":
            raise ConnectionError("another relay has taken the lead")


async def connect_relay(database_url: str, schema: str) -> "asyncpg.Connection[Any]":
    """Open the relay's own connection. `database_url` is postgresql+asyncpg://…"""
    return await connect_directly(
        database_url,
        schema,
        command_timeout_seconds=60,
        settings={
            "application_name": f"meterhall-relay-{schema}",
            "jit": "off",
            # A cached plan would use the index for small windows for large ones too, at a thirtieth of the speed.
            "plan_cache_mode": "force_custom_plan",
            "idle_session_timeout": f"{IDLE_SESSION_SECONDS}s",
            # The same for a leader that stopped while it was receiving data.
            "tcp_user_timeout": f"{IDLE_SESSION_SECONDS}s",
        },
    )


async def take_lead(connection: "asyncpg.Connection[Any]") -> Lead | None:
    """Return the lead, or None when another relay has it.

    Raises HaltedError on a restored copy that was not rebased.
    """
    if not await connection.fetchval(_TRY_LOCK):
        return None
    cluster = await connection.fetchval("SELECT system_identifier FROM pg_control_system()")
    known = await connection.fetchval("SELECT cluster FROM outbox_cursor WHERE shard = 0")
    if known not in {None, cluster}:
        await connection.execute("SELECT pg_advisory_unlock_all()")
        raise HaltedError(
            "this database was restored from another cluster, whose transaction ids mean nothing here:"
            " run `python -m messaging.outbox.rebase` once, then start the relay"
        )
    owner = f"{socket.gethostname()}:{os.getpid()}"
    row = await connection.fetchrow(_TAKE_LEAD, owner, cluster)
    return Lead(connection, row["epoch"], Position(row["prev"], row["cur"], row["last_id"]))


async def backlog(connection: "asyncpg.Connection[Any]") -> tuple[int, float | None]:
    """Return the number of unpublished messages (counted up to 100,000) and the time of the oldest of them."""
    row = await connection.fetchrow(_BACKLOG)
    return row["rows"], None if row["oldest"] is None else row["oldest"].timestamp()


_TRY_LOCK = f"SELECT pg_try_advisory_lock({OUTBOX_LOCK})"

_TAKE_LEAD = """
    UPDATE outbox_cursor SET epoch = epoch + 1, owner = $1, cluster = $2, updated_at = now()
    WHERE shard = 0 RETURNING epoch, prev::text, cur::text, last_id
"""

_SAVE = """
    UPDATE outbox_cursor
    SET prev = $1::text::pg_snapshot, cur = $2::text::pg_snapshot, last_id = $3, high_id = greatest(high_id, $4),
        updated_at = now()
    WHERE shard = 0 AND epoch = $5
"""

_BACKLOG = f"""
    WITH at AS MATERIALIZED (SELECT prev, cur, last_id FROM outbox_cursor WHERE shard = 0)
    SELECT count(*) AS rows, min(created_at) AS oldest FROM (
        SELECT created_at FROM outbox WHERE {UNPUBLISHED} LIMIT 100000
    ) AS waiting
"""  # noqa: S608 - our own text
