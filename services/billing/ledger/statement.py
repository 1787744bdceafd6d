"""An account's statement: opening balance, a line per transfer with the balance after it, closing balance."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_ACCOUNT = text("SELECT id FROM ledger_accounts WHERE address = :address AND currency = :currency")
# Each direction has its own index; a transfer has two different accounts, so none is read twice.
_LINES = text("""
    WITH moved AS (
        SELECT id, kind, credit_account AS counter, -amount_minor AS amount_minor, occurred_at
        FROM transfers WHERE debit_account = :account AND occurred_at < :until
        UNION ALL
        SELECT id, kind, debit_account, amount_minor, occurred_at
        FROM transfers WHERE credit_account = :account AND occurred_at < :until
    ), opening AS (
        SELECT coalesce(sum(amount_minor), 0) AS minor FROM moved WHERE occurred_at < :since
    )
    SELECT m.id, m.kind, a.address AS counter_account, m.amount_minor, m.occurred_at,
        CAST(o.minor AS bigint) AS opening_minor,
        CAST(o.minor + sum(m.amount_minor) OVER (ORDER BY m.occurred_at, m.id) AS bigint) AS balance_minor
    FROM opening o
    LEFT JOIN moved m ON m.occurred_at >= :since
    LEFT JOIN ledger_accounts a ON a.id = m.counter
    ORDER BY m.occurred_at, m.id
""")


class NoSuchAccountError(LookupError):
    """The ledger has no account with this address and currency."""


@dataclass(frozen=True, slots=True)
class StatementLine:
    """A transfer from the account's side: credits are positive, debits negative.

    `balance_minor` is the balance after it.
    """

    transfer_id: UUID
    kind: str
    counter_account: str
    amount_minor: int
    occurred_at: datetime
    balance_minor: int


@dataclass(frozen=True, slots=True)
class Statement:
    """An account's transfers from `since` until just before `until`, in minor units of `currency`."""

    address: str
    currency: str
    since: datetime
    until: datetime
    opening_minor: int
    lines: Sequence[StatementLine]

    @property
    def closing_minor(self) -> int:
        """The balance at the end."""
        return self.lines[-1].balance_minor if self.lines else self.opening_minor


async def statement(
    connection: AsyncConnection, address: str, currency: str, since: datetime, until: datetime
) -> Statement:
    """Return the account's statement by `occurred_at`. Raises NoSuchAccountError."""
    account = await connection.scalar(_ACCOUNT, {"address": address, "currency": currency})
    if account is None:
        raise NoSuchAccountError(f"the ledger has no account {address} in {currency}")
    found = await connection.execute(_LINES, {"account": account, "since": since, "until": until})
    rows = found.all()
    lines = [
        StatementLine(
            row.id,
            row.kind,
            row.counter_account,
            row.amount_minor,
            row.occurred_at,
            row.balance_minor,
        )
        for row in rows
        if row.id is not None
    ]
    return Statement(address, currency, since, until, rows[0].opening_minor, lines)
