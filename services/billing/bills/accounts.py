"""Accounts: a customer's account number at a biller, and our id for it, which may leave the database; the number may
not.
"""

from collections.abc import Collection, Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.ids import uuid7

# The biller's id and the account number there.
AccountKey = tuple[str, str]

_FIND = text("""
    SELECT a.biller_id, a.account_number, a.id
    FROM unnest(CAST(:billers AS text[]), CAST(:numbers AS text[])) AS w (biller_id, account_number)
    JOIN accounts a ON a.biller_id = w.biller_id AND a.account_number = w.account_number
""")
_OPEN = text("""
    INSERT INTO accounts (id, biller_id, account_number)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:billers AS text[]), CAST(:numbers AS text[]))
    ON CONFLICT DO NOTHING RETURNING biller_id, account_number, id
""")


async def find_or_open_accounts(
    connection: AsyncConnection, wanted: Sequence[AccountKey]
) -> dict[AccountKey, UUID]:
    """Return the ids of these (biller id, account number), in the caller's transaction. The billers must exist.

    An account that is opened here need not exist at the biller: only a lookup shows that.
    """
    keys = set(wanted)
    found = await _find(connection, keys)
    if missing := sorted(keys - found.keys()):
        # In order, so that two batches cannot wait for each other's accounts in a circle.
        opened = await connection.execute(_OPEN, {"ids": [uuid7() for _ in missing]} | _of(missing))
        found |= {(row.biller_id, row.account_number): row.id for row in opened}
    if lost := keys - found.keys():
        # Opened and committed by another transaction meanwhile; the conflict has waited for it.
        found |= await _find(connection, lost)
    return found


async def _find(
    connection: AsyncConnection, keys: Collection[AccountKey]
) -> dict[AccountKey, UUID]:
    if not keys:
        return {}
    rows = await connection.execute(_FIND, _of(sorted(keys)))
    return {(row.biller_id, row.account_number): row.id for row in rows}


def _of(keys: Sequence[AccountKey]) -> dict[str, list[str]]:
    return {"billers": [key[0] for key in keys], "numbers": [key[1] for key in keys]}
