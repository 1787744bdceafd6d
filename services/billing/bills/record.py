"""Record the billers' responses: the second transaction of a lookup, a batch at a time.

A bill keeps its id however often its biller lists its number. Of two responses about one account the one to the later
request counts. A recorded lookup stays as it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import NO_ERRAND, Errand
from events import bills as contract
from events.ids import uuid7
from events.message import Event
from messaging.outbox import Outgoing, enqueue
from services.billing.bills.connectors import (
    BillerBill,
    BillerDown,
    Found,
    NoSuchAccount,
    NothingOwed,
)
from services.billing.bills.connectors.protocol import LookupAnswer
from services.billing.institutions import LEDGER, of_biller

_LOCK = text("""
    SELECT id FROM lookups WHERE id = ANY(CAST(:ids AS uuid[])) AND state = 'pending' ORDER BY id FOR NO KEY UPDATE
""")
# Recording an account's bills locks the account; accounts are locked in order, so no two transactions deadlock.
_LOCK_ACCOUNTS = text("""
    SELECT id, looked_up_at FROM accounts WHERE id = ANY(CAST(:accounts AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")
BILLS_OF_ARRAYS = """
    INSERT INTO bills AS b (id, account_id, bill_number, period, amount_minor, currency, rule, min_minor, max_minor,
        multiple_minor, due_on, expires_at, looked_up_at)
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:accounts AS uuid[]), CAST(:numbers AS text[]),
        CAST(:periods AS text[]), CAST(:amounts AS bigint[]), CAST(:currencies AS text[]), CAST(:rules AS text[]),
        CAST(:mins AS bigint[]), CAST(:maxes AS bigint[]), CAST(:multiples AS bigint[]), CAST(:due AS date[]),
        CAST(:expire AS timestamptz[]), CAST(:asked AS timestamptz[])) AS f (id, account_id, bill_number)
    ORDER BY f.account_id, f.bill_number
"""
_KEEP_BILLS = text(f"""{BILLS_OF_ARRAYS}
    ON CONFLICT (account_id, bill_number) DO UPDATE SET period = excluded.period,
        amount_minor = excluded.amount_minor, currency = excluded.currency, rule = excluded.rule,
        min_minor = excluded.min_minor, max_minor = excluded.max_minor, multiple_minor = excluded.multiple_minor,
        due_on = excluded.due_on, expires_at = excluded.expires_at, closed_at = NULL,
        looked_up_at = excluded.looked_up_at
    WHERE b.looked_up_at <= excluded.looked_up_at
""")
_READ_IDS = text("""
    SELECT b.account_id, b.bill_number, b.id
    FROM unnest(CAST(:accounts AS uuid[]), CAST(:numbers AS text[])) AS w (account_id, bill_number)
    JOIN bills b ON b.account_id = w.account_id AND b.bill_number = w.bill_number
""")
# Closes the account's older bills that are not in this response: the biller no longer lists them.
_CLOSE_BILLS = text("""
    UPDATE bills b SET closed_at = CAST(:now AS timestamptz), looked_up_at = a.asked_at
    FROM unnest(CAST(:accounts AS uuid[]), CAST(:asked AS timestamptz[])) AS a (account_id, asked_at)
    WHERE b.account_id = a.account_id AND b.closed_at IS NULL AND b.looked_up_at < a.asked_at
""")
_NOTE = text("""
    UPDATE accounts SET looked_up_at = a.asked_at
    FROM unnest(CAST(:accounts AS uuid[]), CAST(:asked AS timestamptz[])) AS a (account_id, asked_at)
    WHERE id = a.account_id
""")
_FINISH = text("""
    UPDATE lookups l SET state = f.state, reason = f.reason, version = version + 1,
        bill_ids = CAST(string_to_array(f.bill_ids, ',') AS uuid[]), finished_at = CAST(:now AS timestamptz)
    FROM unnest(CAST(:ids AS uuid[]), CAST(:states AS text[]), CAST(:reasons AS text[]), CAST(:bills AS text[]))
        AS f (id, state, reason, bill_ids)
    WHERE l.id = f.id
""")

# The kind of the errands of lookups.
KIND = "lookup"
# A bill's identity: the account's id and the biller's number.
BillKey = tuple[UUID, str]


@dataclass(frozen=True, slots=True)
class Lookup:
    """A lookup with the account number for its biller. `currency` is the biller's."""

    id: UUID
    channel: str
    account_id: UUID
    account_number: str
    biller_id: str
    currency: str
    biller_active: bool
    by_file: bool
    pending: bool
    version: int
    correlation_id: str | None
    errand: Errand = NO_ERRAND

    @property
    def institution(self) -> str:
        """The institution of its call: the biller, or our ledger when the biller's bills come by file."""
        return LEDGER if self.by_file or not self.biller_active else of_biller(self.biller_id)


@dataclass(frozen=True, slots=True)
class Answered:
    """A lookup and its response. `reason` is the code of why there is none, or why it was not accepted."""

    lookup: Lookup
    asked_at: datetime
    answer: LookupAnswer
    reason: str = "biller_down"


async def record_lookups(connection: AsyncConnection, results: Sequence[Answered]) -> int:
    """Record these responses in the caller's transaction (bills, states, events); return how many lookups finished."""
    if not results:
        return 0
    locked = await connection.execute(_LOCK, {"ids": [each.lookup.id for each in results]})
    pending = set(locked.scalars())
    await errands.end(connection, [(KIND, each.lookup.id) for each in results])
    # The same lookup may have been called for twice: its lease ran out while its first response was under way.
    open_ones = {each.lookup.id: each for each in results if each.lookup.id in pending}
    answered = list(open_ones.values())
    now = datetime.now(UTC)
    ids = await _keep_bills(connection, answered, now)
    await _finish(connection, answered, ids, now)
    await enqueue(
        connection,
        [
            Outgoing.of(
                _event(each, ids),
                each.lookup.version + 1,
                correlation_id=each.lookup.correlation_id,
            )
            for each in answered
        ],
    )
    return len(answered)


async def _keep_bills(
    connection: AsyncConnection, answered: Sequence[Answered], now: datetime
) -> dict[BillKey, UUID]:
    # Stores the listed bills, closes the others, and returns the ids of the listed ones.
    stated: dict[BillKey, tuple[BillerBill, datetime]] = {}
    asked_at_by_account: dict[UUID, datetime] = {}
    listed: set[BillKey] = set()
    for each in sorted(answered, key=lambda each: each.asked_at):
        if isinstance(each.answer, BillerDown):
            continue
        account = each.lookup.account_id
        found = each.answer.bills if isinstance(each.answer, Found) else ()
        listed |= {(account, bill.bill_number) for bill in found}
        # The response of a biller that works by file was read from our own table.
        if not each.lookup.by_file:
            asked_at_by_account[account] = each.asked_at
            stated |= {(account, bill.bill_number): (bill, each.asked_at) for bill in found}
    if asked_at_by_account:
        accounts = list(asked_at_by_account)
        for row in await connection.execute(_LOCK_ACCOUNTS, {"accounts": accounts}):
            # A bill that a later response did not list stays closed, whatever an older response lists.
            asked_at = asked_at_by_account[row.id]
            asked_at_by_account[row.id] = max(asked_at, row.looked_up_at or asked_at)
        if stated:
            await connection.execute(_KEEP_BILLS, columns_of(stated))
        parameters = {"accounts": accounts, "asked": list(asked_at_by_account.values())}
        await connection.execute(_CLOSE_BILLS, {**parameters, "now": now})
        await connection.execute(_NOTE, parameters)
    if not listed:
        return {}
    keys = {"accounts": [key[0] for key in listed], "numbers": [key[1] for key in listed]}
    rows = await connection.execute(_READ_IDS, keys)
    return {(row.account_id, row.bill_number): row.id for row in rows}


def columns_of(stated: Mapping[BillKey, tuple[BillerBill, datetime]]) -> dict[str, list[Any]]:
    """Return the arrays that BILLS_OF_ARRAYS reads: bills, the times at which they were stated, and fresh ids."""
    bills = [bill for bill, _ in stated.values()]
    return {
        "ids": [uuid7() for _ in bills],
        "accounts": [account for account, _ in stated],
        "numbers": [bill.bill_number for bill in bills],
        "periods": [bill.period for bill in bills],
        "amounts": [bill.amount_minor for bill in bills],
        "currencies": [bill.currency for bill in bills],
        "rules": [bill.rule for bill in bills],
        "mins": [bill.min_minor for bill in bills],
        "maxes": [bill.max_minor for bill in bills],
        "multiples": [bill.multiple_minor for bill in bills],
        "due": [bill.due_on for bill in bills],
        "expire": [bill.expires_at for bill in bills],
        "asked": [asked_at for _, asked_at in stated.values()],
    }


async def _finish(
    connection: AsyncConnection,
    answered: Sequence[Answered],
    ids: dict[BillKey, UUID],
    now: datetime,
) -> None:
    if not answered:
        return
    await connection.execute(
        _FINISH,
        {
            "now": now,
            "ids": [each.lookup.id for each in answered],
            "states": [_state(each.answer) for each in answered],
            "reasons": [
                each.reason if isinstance(each.answer, BillerDown) else None for each in answered
            ],
            "bills": [
                ",".join(str(ids[each.lookup.account_id, b.bill_number]) for b in each.answer.bills)
                if isinstance(each.answer, Found)
                else None
                for each in answered
            ],
        },
    )


def _state(answer: LookupAnswer) -> str:
    match answer:
        case Found():
            return "found"
        case NothingOwed():
            return "nothing_owed"
        case NoSuchAccount():
            return "no_such_account"
        case BillerDown():
            return "failed"


def _event(each: Answered, ids: dict[BillKey, UUID]) -> Event:
    lookup = each.lookup
    about: dict[str, Any] = {
        "lookup_id": lookup.id,
        "channel": lookup.channel,
        "account_id": lookup.account_id,
        "biller_id": lookup.biller_id,
    }
    match each.answer:
        case Found(bills):
            found = [_found_bill(bill, ids[lookup.account_id, bill.bill_number]) for bill in bills]
            return contract.BillsFound(**about, bills=found)
        case NothingOwed():
            return contract.NothingOwed(**about)
        case NoSuchAccount():
            return contract.AccountNotFound(**about)
        case BillerDown():
            return contract.LookupFailed(**about, reason=each.reason)


def _found_bill(bill: BillerBill, id: UUID) -> contract.FoundBill:
    return contract.FoundBill(
        bill_id=id,
        period=bill.period,
        amount_minor=bill.amount_minor,
        currency=bill.currency,
        rule=bill.rule,
        min_minor=bill.min_minor,
        max_minor=bill.max_minor,
        multiple_minor=bill.multiple_minor,
        due_on=bill.due_on,
        expires_at=bill.expires_at,
    )
