"""The HTTP door's half of a lookup: check the account number's form, store the lookup, enqueue its command."""

import re
from functools import lru_cache
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from events.bills import LookUpBills
from events.bounds import is_storable
from events.signature import SigningKey
from messaging.outbox import Outgoing, enqueue
from services.billing.bills.accounts import find_or_open_accounts
from services.billing.catalog import Biller, find_billers

_KEEP = text("""
    INSERT INTO lookups (id, channel_id, account_id, state, correlation_id, command_id)
    VALUES (:id, :channel, :account, 'pending', :correlation, :command)
""")


class NoActiveBillerError(LookupError):
    """The catalogue has no active biller with this id."""


class AccountNumberError(ValueError):
    """The biller has no account numbers of this form; `biller` has the hints."""

    def __init__(self, biller: Biller) -> None:
        super().__init__("not an account number of this biller")
        self.biller = biller


async def open_account(connection: AsyncConnection, biller_id: str, account_number: str) -> UUID:
    """Return our id of this account. Raises NoActiveBillerError or AccountNumberError."""
    biller = (await find_billers(connection, [biller_id])).get(biller_id)
    if biller is None or not biller.active:
        raise NoActiveBillerError(biller_id)
    form = _compiled(biller.account_number_pattern)
    if not is_storable(account_number) or not form.fullmatch(account_number):
        raise AccountNumberError(biller)
    key = (biller_id, account_number)
    return (await find_or_open_accounts(connection, [key]))[key]


async def request_lookup(
    connection: AsyncConnection,
    command: LookUpBills,
    key: SigningKey | None,
    correlation_id: str | None = None,
) -> None:
    """Store the lookup and enqueue its command, signed with the door's key, in the caller's transaction."""
    message = Outgoing.of(command, 1, correlation_id=correlation_id).signed(key)
    await connection.execute(
        _KEEP,
        {
            "id": command.lookup_id,
            "channel": command.channel,
            "account": command.account_id,
            "correlation": correlation_id,
            "command": message.event_id,
        },
    )
    await enqueue(connection, [message])


@lru_cache(1024)
def _compiled(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern)
