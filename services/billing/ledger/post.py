"""Post transfers: append them, then move each account's balance once per batch.

Accounts are locked in one order everywhere, wallets first and then by id, so that two workers never wait for each other
in a circle. Every function takes a list and runs one statement per table, inside the caller's transaction.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.ledger.movements import Account, Transfer

AccountIds = Mapping[Account, int]


class Locked(NamedTuple):
    """A locked account: its id, and what it can spend (balance less holds), in minor units."""

    id: int
    available_minor: int


class OrphanError(Exception):
    """A transfer names an account that does not exist: a defect of ours. The caller rolls back."""


_FIND = text("""
    SELECT a.id, a.address, a.currency
    FROM unnest(CAST(:addresses AS text[]), CAST(:currencies AS text[])) AS w (address, currency)
    JOIN ledger_accounts a ON a.address = w.address AND a.currency = w.currency
""")
_OPEN = text("""
    INSERT INTO ledger_accounts (address, currency, no_overdraft)
    SELECT * FROM unnest(CAST(:addresses AS text[]), CAST(:currencies AS text[]), CAST(:no_overdraft AS bool[]))
    ON CONFLICT DO NOTHING
""")
_APPEND = text("""
    INSERT INTO transfers (id, kind, debit_account, credit_account, amount_minor, currency, corrects, occurred_at)
    SELECT * FROM unnest(
        CAST(:ids AS uuid[]), CAST(:kinds AS text[]), CAST(:debits AS bigint[]), CAST(:credits AS bigint[]),
        CAST(:amounts AS bigint[]), CAST(:currencies AS text[]), CAST(:corrects AS uuid[]),
        CAST(:occurred AS timestamptz[]))
""")
_AVAILABLE = """
    SELECT a.address, a.currency, a.id, a.balance_minor - a.held_minor AS available_minor
    FROM unnest(CAST(:addresses AS text[]), CAST(:currencies AS text[])) AS w (address, currency)
    JOIN ledger_accounts a ON a.address = w.address AND a.currency = w.currency
"""
_FIND_AVAILABLE = text(_AVAILABLE)
_FIND_AND_LOCK = text(f"{_AVAILABLE} ORDER BY a.no_overdraft DESC, a.id FOR NO KEY UPDATE OF a")
_LOCK = text("""
    SELECT count(*) FROM (
        SELECT FROM ledger_accounts
        WHERE id = ANY(CAST(:ids AS bigint[])) ORDER BY no_overdraft DESC, id FOR NO KEY UPDATE) AS locked
""")
_MOVE = text("""
    UPDATE ledger_accounts a
    SET balance_minor = a.balance_minor + d.balance_delta, held_minor = a.held_minor + d.held_delta
    FROM unnest(CAST(:ids AS bigint[]), CAST(:balances AS bigint[]), CAST(:helds AS bigint[]))
        AS d (id, balance_delta, held_delta)
    WHERE a.id = d.id
""")


async def open_accounts(
    connection: AsyncConnection, accounts: Iterable[Account]
) -> dict[Account, int]:
    """The ids of these accounts; the ones that do not exist yet are opened with nothing in them."""
    wanted = sorted(set(accounts))
    if not wanted:
        return {}
    found = await find_accounts(connection, wanted)
    missing = [account for account in wanted if account not in found]
    if missing:
        await connection.execute(
            _OPEN, {**_names(missing), "no_overdraft": [each.no_overdraft for each in missing]}
        )
        found |= await find_accounts(connection, missing)
    return found


async def find_available(
    connection: AsyncConnection, accounts: Collection[Account]
) -> dict[Account, int]:
    """What these accounts can spend at this moment (balance less holds, minor units). Nothing is locked."""
    if not accounts:
        return {}
    rows = await connection.execute(_FIND_AVAILABLE, _names(accounts))
    return {Account(address, currency): available for address, currency, _, available in rows}


async def lock_accounts(
    connection: AsyncConnection, accounts: Collection[Account]
) -> dict[Account, Locked]:
    """Lock these accounts until the transaction ends. One that does not exist is not in what is returned."""
    if not accounts:
        return {}
    rows = await connection.execute(_FIND_AND_LOCK, _names(accounts))
    return {
        Account(address, currency): Locked(id, available)
        for address, currency, id, available in rows
    }


async def post(
    connection: AsyncConnection,
    transfers: Sequence[Transfer],
    ids: AccountIds,
    released: Mapping[int, int] | None = None,
    locked: Collection[int] = (),
) -> None:
    """Append the transfers and move the balances.

    `ids` comes from `open_accounts`; `released` is what holds on an account give up in the same moment, in minor
    units; `locked` are the accounts that the caller has locked. Raises IntegrityError when an id was posted before or
    an account that must not be overdrawn would be, and OrphanError when one of the accounts does not exist: with that,
    transfers need no foreign keys.
    """
    if not transfers:
        return
    corrects = [each.corrects for each in transfers]
    await connection.execute(
        _APPEND,
        {
            "ids": [each.id for each in transfers],
            "kinds": [each.kind for each in transfers],
            "debits": [ids[each.debit] for each in transfers],
            "credits": [ids[each.credit] for each in transfers],
            "amounts": [each.amount_minor for each in transfers],
            "currencies": [each.debit.currency for each in transfers],
            # unnest pads what is shorter with NULL: hardly any transfer corrects another.
            "corrects": corrects if any(corrects) else None,
            "occurred": [each.occurred_at for each in transfers],
        },
    )
    balances: dict[int, int] = defaultdict(int)
    for each in transfers:
        assert each.debit.currency == each.credit.currency, "a transfer has one currency"
        balances[ids[each.debit]] -= each.amount_minor
        balances[ids[each.credit]] += each.amount_minor
    await move(
        connection, balances, {id: -amount for id, amount in (released or {}).items()}, locked
    )


async def move(
    connection: AsyncConnection,
    balances: Mapping[int, int],
    helds: Mapping[int, int],
    locked: Collection[int] = (),
) -> None:
    """Change balances and held amounts by these deltas (minor units per account id), each account once.

    What is not among `locked` is locked first, in the order that all keep to: an UPDATE takes rows as it finds them.
    """
    touched = sorted(balances.keys() | helds.keys())
    if not touched:
        return
    if not_locked := [id for id in touched if id not in locked]:
        await connection.execute(_LOCK, {"ids": not_locked})
    moved = await connection.execute(
        _MOVE,
        {
            "ids": touched,
            "balances": [balances.get(id, 0) for id in touched],
            "helds": [helds.get(id, 0) for id in touched],
        },
    )
    if moved.rowcount != len(touched):
        raise OrphanError(f"{len(touched) - moved.rowcount} of {len(touched)} accounts")


async def find_accounts(
    connection: AsyncConnection, wanted: Sequence[Account]
) -> dict[Account, int]:
    rows = await connection.execute(_FIND, _names(wanted))
    return {Account(address, currency): id for id, address, currency in rows}


def _names(accounts: Iterable[Account]) -> dict[str, list[str]]:
    return {
        "addresses": [each.address for each in accounts],
        "currencies": [each.currency for each in accounts],
    }
