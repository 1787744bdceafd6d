"""Post transfers: append them, then move each account's balance once per batch.

Accounts are locked in one order everywhere, wallets first and then by id, so that two workers cannot deadlock. Every
function takes a list and runs one statement per table, inside the caller's transaction.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import copy, violated
from services.billing.ledger.movements import Account, Transfer

AccountIds = Mapping[Account, int]


class Funds(NamedTuple):
    """An account's id, and the amount that it can spend at this moment (balance less holds), in minor units."""

    id: int
    available_minor: int


class OverdrawnError(Exception):
    """An account that must not be overdrawn would be overdrawn. The caller rolls back."""


class OrphanError(Exception):
    """A transfer names an account that does not exist: a defect of ours. The caller rolls back."""


_OPEN = text("""
    INSERT INTO ledger_accounts (address, currency, no_overdraft)
    SELECT * FROM unnest(CAST(:addresses AS text[]), CAST(:currencies AS text[]), CAST(:no_overdraft AS bool[]))
    ON CONFLICT DO NOTHING
""")
_COLUMNS = (
    "id",
    "kind",
    "debit_account",
    "credit_account",
    "amount_minor",
    "currency",
    "corrects",
    "occurred_at",
)
_NAMED = """
    FROM unnest(CAST(:addresses AS text[]), CAST(:currencies AS text[])) AS w (address, currency)
    JOIN ledger_accounts a ON a.address = w.address AND a.currency = w.currency
"""
_FIND = text(f"SELECT a.address, a.currency, a.id, a.balance_minor - a.held_minor {_NAMED}")
_AT = text("SELECT id FROM ledger_accounts WHERE address = :address")
_BOOKED = text("SELECT id, kind FROM transfers WHERE id = ANY(CAST(:ids AS uuid[]))")
_LOCK = text(f"""
    SELECT count(*) FROM (
        SELECT {_NAMED} ORDER BY a.no_overdraft DESC, a.id FOR NO KEY UPDATE OF a) AS locked
""")  # noqa: S608 - our own text
# An UPDATE alone would lock the rows in the order in which it finds them, so they are locked in a CTE first. The join
# by id then finds the new version of a row that was changed while we waited for its lock.
_MOVE = text("""
    WITH locked AS (
        SELECT a.id, d.balance_delta, d.held_delta
        FROM unnest(CAST(:ids AS bigint[]), CAST(:balances AS bigint[]), CAST(:helds AS bigint[]))
            AS d (id, balance_delta, held_delta)
        JOIN ledger_accounts a ON a.id = d.id
        ORDER BY a.no_overdraft DESC, a.id FOR NO KEY UPDATE OF a
    )
    UPDATE ledger_accounts a
    SET balance_minor = a.balance_minor + d.balance_delta, held_minor = a.held_minor + d.held_delta
    FROM locked d WHERE a.id = d.id
""")


async def find_accounts(
    connection: AsyncConnection, accounts: Collection[Account]
) -> dict[Account, Funds]:
    """Return those of these accounts that exist, with the amounts that they can spend at this moment. Locks nothing."""
    if not accounts:
        return {}
    rows = await connection.execute(_FIND, _names(accounts))
    return {
        Account(address, currency): Funds(id, available)
        for address, currency, id, available in rows
    }


async def booked(connection: AsyncConnection, ids: Collection[UUID]) -> dict[UUID, str]:
    """Return the kinds of those of these transfers that are booked, by their ids."""
    if not ids:
        return {}
    rows = await connection.execute(_BOOKED, {"ids": list(ids)})
    return {row.id: row.kind for row in rows}


async def accounts_at(connection: AsyncConnection, address: str) -> list[int]:
    """Return the ids of the accounts at this address, one for each currency."""
    return list(await connection.scalars(_AT, {"address": address}))


async def lock_accounts(connection: AsyncConnection, accounts: Collection[Account]) -> None:
    """Lock those of these accounts that exist, until the transaction ends."""
    if accounts:
        await connection.execute(_LOCK, _names(accounts))


async def post(
    connection: AsyncConnection,
    transfers: Sequence[Transfer],
    helds: Mapping[int, int] | None = None,
    known: AccountIds | None = None,
) -> None:
    """Append the transfers and move the balances; missing accounts are opened.

    `helds` are the sums returned by `set_aside` and `end_posted`; `known` are account ids that the caller has found,
    which are not looked up again. Accounts are locked from here to the end of the transaction. Raises IntegrityError
    when an id was posted before, OverdrawnError, and OrphanError when an account does not exist (so transfers need no
    foreign keys).
    """
    ids = {**(known or {})}
    named = {account for each in transfers for account in (each.debit, each.credit)}
    ids |= await _open(connection, named - ids.keys())
    await copy(connection, "transfers", _COLUMNS, [_row(each, ids) for each in transfers])
    balances: dict[int, int] = defaultdict(int)
    for each in transfers:
        assert each.debit.currency == each.credit.currency, "a transfer has one currency"
        balances[ids[each.debit]] -= each.amount_minor
        balances[ids[each.credit]] += each.amount_minor
    await _move(connection, balances, helds or {})


async def _open(connection: AsyncConnection, accounts: Collection[Account]) -> dict[Account, int]:
    found = await find_accounts(connection, accounts)
    missing = sorted(account for account in accounts if account not in found)
    if missing:
        await connection.execute(
            _OPEN, {**_names(missing), "no_overdraft": [each.no_overdraft for each in missing]}
        )
        found |= await find_accounts(connection, missing)
    return {account: each.id for account, each in found.items()}


def _row(transfer: Transfer, ids: AccountIds) -> tuple[object, ...]:
    return (
        transfer.id,
        transfer.kind,
        ids[transfer.debit],
        ids[transfer.credit],
        transfer.amount_minor,
        transfer.debit.currency,
        transfer.corrects,
        transfer.occurred_at,
    )


async def _move(
    connection: AsyncConnection, balances: Mapping[int, int], helds: Mapping[int, int]
) -> None:
    # Adds these deltas (minor units per account id), each account once.
    touched = list(balances.keys() | helds.keys())
    if not touched:
        return
    try:
        moved = await connection.execute(
            _MOVE,
            {
                "ids": touched,
                "balances": [balances.get(id, 0) for id in touched],
                "helds": [helds.get(id, 0) for id in touched],
            },
        )
    except IntegrityError as error:
        if violated(error) != "ck_ledger_accounts_no_overdraft":
            raise
        raise OverdrawnError(f"one of {len(touched)} accounts") from error
    if moved.rowcount != len(touched):
        raise OrphanError(f"{len(touched) - moved.rowcount} of {len(touched)} accounts")


def _names(accounts: Iterable[Account]) -> dict[str, list[str]]:
    return {
        "addresses": [each.address for each in accounts],
        "currencies": [each.currency for each in accounts],
    }
