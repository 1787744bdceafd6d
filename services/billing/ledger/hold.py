"""Hold money that a payment may need: pending until it is posted by the transfer of the same id, or voided."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.ledger.post import move


@dataclass(frozen=True, slots=True)
class Hold:
    """Money of an account, set aside. `id` is the id of the transfer that it may become."""

    id: UUID
    account: int
    amount_minor: int


_SET_ASIDE = text("""
    INSERT INTO holds (id, account, amount_minor, state)
    SELECT id, account, amount, 'pending'
    FROM unnest(CAST(:ids AS uuid[]), CAST(:accounts AS bigint[]), CAST(:amounts AS bigint[]))
        AS h (id, account, amount)
""")
_END = text("""
    UPDATE holds SET state = :state, ended_at = now()
    WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'pending'
    RETURNING account, amount_minor
""")


async def set_aside(
    connection: AsyncConnection, holds: Sequence[Hold], locked: Collection[int] = ()
) -> None:
    """Hold the money; raises IntegrityError when an account has less than that. `locked` is as for `post`."""
    if not holds:
        return
    await connection.execute(
        _SET_ASIDE,
        {
            "ids": [each.id for each in holds],
            "accounts": [each.account for each in holds],
            "amounts": [each.amount_minor for each in holds],
        },
    )
    helds: dict[int, int] = defaultdict(int)
    for each in holds:
        helds[each.account] += each.amount_minor
    await move(connection, {}, helds, locked)


async def end_posted(connection: AsyncConnection, ids: Sequence[UUID]) -> dict[int, int]:
    """End these holds because their transfers are posted now; the amounts given up per account, for `post`."""
    return await _end(connection, ids, "posted")


async def void(connection: AsyncConnection, ids: Sequence[UUID]) -> None:
    """Let the money go."""
    released = await _end(connection, ids, "voided")
    await move(connection, {}, {account: -amount for account, amount in released.items()})


async def _end(connection: AsyncConnection, ids: Sequence[UUID], state: str) -> dict[int, int]:
    if not ids:
        return {}
    rows = await connection.execute(_END, {"ids": list(ids), "state": state})
    released: dict[int, int] = defaultdict(int)
    for row in rows:
        released[row.account] += row.amount_minor
    return released
