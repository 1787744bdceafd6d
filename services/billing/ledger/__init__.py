"""The ledger: accounts, transfers, holds. A transfer debits one account and credits another, so the books can't be
out of balance; they are append-only by the database's privileges, and a correction is a new transfer.
"""

from services.billing.ledger.balances import TrialBalance, TrialBalanceRow, trial_balance
from services.billing.ledger.hold import Hold, end_posted, set_aside, void
from services.billing.ledger.movements import (
    Account,
    Transfer,
    adjustment,
    bank,
    pay_bill,
    payable,
    psp_clearing,
    psp_fee,
    psp_settlement,
    refund,
    remittance,
    top_up,
    wallet,
)
from services.billing.ledger.post import (
    AccountIds,
    Funds,
    OrphanError,
    OverdrawnError,
    find_accounts,
    lock_accounts,
    post,
)
from services.billing.ledger.seals import (
    BUCKETS,
    BrokenSeal,
    Seal,
    Verified,
    broken_seals,
    seal,
    sealed_until,
    verify,
)
from services.billing.ledger.statement import (
    NoSuchAccountError,
    Statement,
    StatementLine,
    statement,
)

__all__ = [
    "BUCKETS",
    "Account",
    "AccountIds",
    "BrokenSeal",
    "Funds",
    "Hold",
    "NoSuchAccountError",
    "OrphanError",
    "OverdrawnError",
    "Seal",
    "Statement",
    "StatementLine",
    "Transfer",
    "TrialBalance",
    "TrialBalanceRow",
    "Verified",
    "adjustment",
    "bank",
    "broken_seals",
    "end_posted",
    "find_accounts",
    "lock_accounts",
    "pay_bill",
    "payable",
    "post",
    "psp_clearing",
    "psp_fee",
    "psp_settlement",
    "refund",
    "remittance",
    "seal",
    "sealed_until",
    "set_aside",
    "statement",
    "top_up",
    "trial_balance",
    "verify",
    "void",
    "wallet",
]
