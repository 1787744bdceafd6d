"""All movements of money: each is one function over named accounts, and no other code creates a transfer.

Addresses: `wallet:<channel>:<payer>`, `biller:<id>:payable`, `psp:<name>:clearing`, `bank:<name>`, `expense:psp-fees`,
`suspense:<what>`.
"""

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from events.ids import derived_id


class Account(NamedTuple):
    """A ledger account by its name. Wallets cannot be overdrawn; other accounts may be positive or negative.

    A tuple, like Transfer, because the hot path creates and looks up thousands.
    """

    address: str
    currency: str

    @property
    def no_overdraft(self) -> bool:
        return self.address.startswith("wallet:")


class Transfer(NamedTuple):
    """A transfer debits one account and credits another. `id` is its idempotency key.

    A payment's transfer has the payment's id. Every other transfer has an id derived from its subject, in a form that
    callers may not choose (events.ids.derived_id); older transfers have their subject's id.
    """

    id: UUID
    kind: str
    debit: Account
    credit: Account
    amount_minor: int
    occurred_at: datetime
    corrects: UUID | None = None


@lru_cache(10_000)  # a payment names its wallet several times
def wallet(channel: str, payer: str, currency: str) -> Account:
    """Return the account of what we owe a payer."""
    return Account(wallet_address(channel, payer), currency)


def wallet_address(channel: str, payer: str) -> str:
    """Return the address of a payer's accounts, one for each currency."""
    return f"wallet:{channel}:{payer}"


@lru_cache(10_000)
def payable(biller_id: str, currency: str) -> Account:
    """Return the account of what we owe a biller for applied bills."""
    return Account(f"biller:{biller_id}:payable", currency)


def psp_clearing(currency: str, psp: str = "stripe") -> Account:
    """Return the account of what the PSP has captured for us and not paid out yet."""
    return Account(f"psp:{psp}:clearing", currency)


def bank(currency: str, name: str = "main") -> Account:
    """Return the account of our money at the bank."""
    return Account(f"bank:{name}", currency)


def late_captures(currency: str) -> Account:
    """Return the account of money that the PSP took for payments and top-ups that had ended here."""
    return Account("suspense:late-captures", currency)


def failed_refunds(currency: str) -> Account:
    """Return the account of what payers are owed because a refund failed at the PSP after it had succeeded."""
    return Account("suspense:failed-refunds", currency)


def late_return_id(subject: object) -> UUID:
    """Return the id of the transfer that gives back the late capture of this payment or top-up."""
    return derived_id("late_return", subject)


def refund_returned_id(subject: object) -> UUID:
    """Return the id of the transfer that books the late failure of this subject's refund."""
    return derived_id("refund_returned", subject)


def top_up(transfer_id: UUID, to: Account, amount_minor: int, occurred_at: datetime) -> Transfer:
    """Book that the PSP captured money for a wallet."""
    return Transfer(transfer_id, "top_up", psp_clearing(to.currency), to, amount_minor, occurred_at)


def pay_bill(
    payment_id: UUID, source: Account, biller_id: str, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """Book a bill that is paid from `source`: a wallet, or the PSP's clearing account."""
    return Transfer(
        payment_id,
        "pay_bill",
        source,
        payable(biller_id, source.currency),
        amount_minor,
        occurred_at,
    )


def refund(
    transfer_id: UUID, payment: Transfer, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """Book that all or a part of a payment goes back to where it came from.

    Netted: the biller is owed that much less.
    """
    return Transfer(
        transfer_id, "refund", payment.credit, payment.debit, amount_minor, occurred_at, payment.id
    )


def refund_to_wallet(
    transfer_id: UUID, payment: Transfer, to: Account, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """Book that a refund which the PSP refuses goes to the payer's wallet. Netted like every refund."""
    return Transfer(
        transfer_id,
        "refund_to_wallet",
        payment.credit,
        to,
        amount_minor,
        occurred_at,
        payment.id,
    )


def late_capture(
    transfer_id: UUID, currency: str, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """Book that the PSP took money for a payment or top-up that has ended here, under the id that its success would
    have.
    """
    return Transfer(
        transfer_id,
        "late_capture",
        psp_clearing(currency),
        late_captures(currency),
        amount_minor,
        occurred_at,
    )


def late_return(transfer_id: UUID, capture: Transfer, occurred_at: datetime) -> Transfer:
    """Book that the PSP gave a late capture back."""
    return Transfer(
        transfer_id,
        "late_return",
        capture.credit,
        capture.debit,
        capture.amount_minor,
        occurred_at,
        capture.id,
    )


def late_capture_and_return(
    subject: object, transfer_id: UUID, amount_minor: int, currency: str, occurred_at: datetime
) -> tuple[Transfer, Transfer]:
    """Book money that the PSP took for a payment or top-up that had ended, and gave back."""
    capture = late_capture(transfer_id, currency, amount_minor, occurred_at)
    return capture, late_return(late_return_id(subject), capture, occurred_at)


def refund_returned(
    transfer_id: UUID, given_back: UUID, currency: str, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """Book that the refund of the transfer `given_back` has failed and its money is at the PSP again, owed to the
    payer.
    """
    return Transfer(
        transfer_id,
        "refund_returned",
        psp_clearing(currency),
        failed_refunds(currency),
        amount_minor,
        occurred_at,
        given_back,
    )


def returned_to_wallet(
    transfer_id: UUID, returned: UUID, to: Account, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """Book that the money of the transfer `returned` goes to the payer's wallet."""
    return Transfer(
        transfer_id,
        "returned_to_wallet",
        failed_refunds(to.currency),
        to,
        amount_minor,
        occurred_at,
        returned,
    )


def psp_fee(transfer_id: UUID, currency: str, amount_minor: int, occurred_at: datetime) -> Transfer:
    """Book the PSP's fee."""
    expense = Account("expense:psp-fees", currency)
    clearing = psp_clearing(currency)
    return Transfer(transfer_id, "psp_fee", expense, clearing, amount_minor, occurred_at)


def psp_settlement(
    transfer_id: UUID, currency: str, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """Book the PSP's payout to our bank account."""
    return Transfer(
        transfer_id,
        "psp_settlement",
        bank(currency),
        psp_clearing(currency),
        amount_minor,
        occurred_at,
    )


def remittance(
    transfer_id: UUID, biller_id: str, currency: str, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """Book that we sent a biller what it is owed."""
    return Transfer(
        transfer_id,
        "remittance",
        payable(biller_id, currency),
        bank(currency),
        amount_minor,
        occurred_at,
    )


def adjustment(  # noqa: PLR0917
    transfer_id: UUID,
    debit: Account,
    credit: Account,
    amount_minor: int,
    occurred_at: datetime,
    corrects: UUID,
) -> Transfer:
    """Book a correction: a new transfer that names the transfer which it corrects."""
    return Transfer(transfer_id, "adjustment", debit, credit, amount_minor, occurred_at, corrects)
