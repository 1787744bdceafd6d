"""Holds: money set aside for a payment, pending until the transfer of the same id posts it, or until it is voided."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import copy
from services.billing.ledger.post import post


class Hold(NamedTuple):
    """An amount of an account that is set aside. `id` is the id of the transfer that may post it."""

    id: UUID
    account: int
    amount_minor: int


_COLUMNS = (*Hold._fields, "state")
_END = text("""
    UPDATE holds SET state = :state, ended_at = now()
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'pending'
    RETURNING account, amount_minor
""")


async def set_aside(connection: AsyncConnection, holds: Sequence[Hold]) -> dict[int, int]:
    """Insert the holds; return the amounts set aside per account, for `post`."""
    await copy(connection, "holds", _COLUMNS, [(*each, "pending") for each in holds])
    helds: dict[int, int] = defaultdict(int)
    for each in holds:
        helds[each.account] += each.amount_minor
    return helds


async def end_posted(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[int, int]:
    """End these holds because their transfers are posted now; return the amounts released per account, for `post`."""
    return await _end(connection, ids, "posted")


async def void(connection: AsyncConnection, ids: Sequence[UUID]) -> None:
    """Release the held amounts."""
    await post(connection, [], await _end(connection, ids, "voided"))


async def _end(connection: AsyncConnection, ids: Sequence[UUID], state: str) -> dict[int, int]:
    if not ids:
        return {}
    rows = await connection.execute(_END, {"ids": list(ids), "state": state})
    released: dict[int, int] = defaultdict(int)
    for row in rows:
        released[row.account] -= row.amount_minor
    return released
