"""Balances: of a wallet, and the trial balance: debits, credits and balance of every account, per currency.

Debits equal credits. The trial balance compares two records: the sums of the transfers, and the stored balances.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.ledger.movements import wallet_address

# One statement sees one snapshot, so payments under way cannot unbalance it.
_TRIAL_BALANCE = text("""
    WITH debits AS (
        SELECT debit_account AS account, sum(amount_minor) AS total FROM transfers
        WHERE CAST(:as_of AS timestamptz) IS NULL OR occurred_at < :as_of GROUP BY debit_account
    ), credits AS (
        SELECT credit_account AS account, sum(amount_minor) AS total FROM transfers
        WHERE CAST(:as_of AS timestamptz) IS NULL OR occurred_at < :as_of GROUP BY credit_account
    ), moved AS (
        SELECT a.currency, a.address, a.balance_minor,
            coalesce(d.total, 0) AS debits, coalesce(c.total, 0) AS credits
        FROM ledger_accounts a LEFT JOIN debits d ON d.account = a.id LEFT JOIN credits c ON c.account = a.id
    )
    SELECT currency,
        CASE WHEN address LIKE 'wallet:%' AND NOT :list_wallets THEN 'wallet:*' ELSE address END AS account,
        count(*) AS accounts, CAST(sum(debits) AS bigint) AS debits_minor,
        CAST(sum(credits) AS bigint) AS credits_minor, CAST(sum(balance_minor) AS bigint) AS kept_minor
    FROM moved WHERE CAST(:as_of AS timestamptz) IS NULL OR debits > 0 OR credits > 0
    GROUP BY 1, 2 ORDER BY 1, 2
""")

_WALLET = text("""
    SELECT currency, balance_minor, held_minor FROM ledger_accounts WHERE address = :address ORDER BY currency
""")


@dataclass(frozen=True, slots=True)
class WalletBalance:
    """A wallet's balance in one currency, in minor units. `held_minor` of it is set aside for payments under way."""

    currency: str
    balance_minor: int
    held_minor: int

    @property
    def available_minor(self) -> int:
        """The amount that can be spent."""
        return self.balance_minor - self.held_minor


@dataclass(frozen=True, slots=True)
class TrialBalanceRow:
    """An account, or all wallets together, in minor units. `kept_minor` is the stored balance."""

    currency: str
    account: str
    accounts: int
    debits_minor: int
    credits_minor: int
    kept_minor: int | None

    @property
    def balance_minor(self) -> int:
        """Credits less debits: positive when we owe, negative when others owe us."""
        return self.credits_minor - self.debits_minor


@dataclass(frozen=True, slots=True)
class TrialBalance:
    """The rows, and their faults: none when the books balance."""

    as_of: datetime | None
    rows: Sequence[TrialBalanceRow]
    faults: Sequence[str]

    @property
    def balanced(self) -> bool:
        """True when debits equal credits and every stored balance is the sum of its transfers."""
        return not self.faults


async def wallet_balances(
    connection: AsyncConnection, channel: str, payer: str
) -> list[WalletBalance]:
    """Return the balances of a payer's wallet by currency; empty when it was never used."""
    rows = await connection.execute(_WALLET, {"address": wallet_address(channel, payer)})
    return [WalletBalance(*row) for row in rows]


async def trial_balance(
    connection: AsyncConnection, as_of: datetime | None = None, *, list_wallets: bool = False
) -> TrialBalance:
    """Return the trial balance now, or of transfers that occurred before `as_of` (without stored balances to compare).

    All wallets are one row unless each is to be listed.
    """
    found = await connection.execute(_TRIAL_BALANCE, {"as_of": as_of, "list_wallets": list_wallets})
    rows = [
        TrialBalanceRow(
            row.currency,
            row.account,
            row.accounts,
            row.debits_minor,
            row.credits_minor,
            row.kept_minor if as_of is None else None,
        )
        for row in found
    ]
    return TrialBalance(as_of, rows, _faults(rows))


def _faults(rows: Sequence[TrialBalanceRow]) -> list[str]:
    faults = []
    for currency in sorted({row.currency for row in rows}):
        total = sum(row.balance_minor for row in rows if row.currency == currency)
        if total:
            faults.append(f"{currency}: credits less debits is {total}, not 0")
    for row in rows:
        if row.kept_minor is not None and row.kept_minor != row.balance_minor:
            faults.append(
                f"{row.account} {row.currency}: the balance kept is {row.kept_minor},"
                f" the transfers add up to {row.balance_minor}"
            )
    return faults
