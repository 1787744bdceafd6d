"""The movements of money that exist: each is one function over named accounts, and nothing else makes a transfer.

Addresses: `wallet:<channel>:<payer>`, `biller:<id>:payable`, `psp:<name>:clearing`, `bank:<name>`, `expense:psp-fees`,
`suspense:<what>`.
"""

from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from uuid import UUID

from events.ids import derived_id


class Account(NamedTuple):
    """A ledger account by its name. Wallets can't be overdrawn; every other account may go either way.

    A tuple, like Transfer, because the hot path makes and looks up thousands.
    """

    address: str
    currency: str

    @property
    def no_overdraft(self) -> bool:
        return self.address.startswith("wallet:")


class Transfer(NamedTuple):
    """Debits one account and credits another. `id` is its idempotency key.

    A payment's transfer has the payment's id, every other one an id of its own: derived from what it books, in a form
    that callers may not choose (events.ids.derived_id). Before kinds were told apart, all had the id of what they book.
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
    """What we owe a payer."""
    return Account(wallet_address(channel, payer), currency)


def wallet_address(channel: str, payer: str) -> str:
    """The name of a payer's accounts, of which there is one in each currency."""
    return f"wallet:{channel}:{payer}"


@lru_cache(10_000)
def payable(biller_id: str, currency: str) -> Account:
    """What we owe a biller for applied bills."""
    return Account(f"biller:{biller_id}:payable", currency)


def psp_clearing(currency: str, psp: str = "stripe") -> Account:
    """What the PSP has captured for us and not paid out yet."""
    return Account(f"psp:{psp}:clearing", currency)


def bank(currency: str, name: str = "main") -> Account:
    """Our money at the bank."""
    return Account(f"bank:{name}", currency)


def late_captures(currency: str) -> Account:
    """What the PSP took for payments and top-ups that have ended here, until it has gone back."""
    return Account("suspense:late-captures", currency)


def failed_refunds(currency: str) -> Account:
    """What payers are owed because the PSP's refund failed after it had succeeded."""
    return Account("suspense:failed-refunds", currency)


def late_return_id(subject: object) -> UUID:
    """The id of the transfer that gives back the late capture of this payment or top-up."""
    return derived_id("late_return", subject)


def refund_returned_id(subject: object) -> UUID:
    """The id of the transfer that books the late failure of what was given back for this subject."""
    return derived_id("refund_returned", subject)


def top_up(transfer_id: UUID, to: Account, amount_minor: int, occurred_at: datetime) -> Transfer:
    """The PSP captured money for a wallet."""
    return Transfer(transfer_id, "top_up", psp_clearing(to.currency), to, amount_minor, occurred_at)


def pay_bill(
    payment_id: UUID, source: Account, biller_id: str, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """A bill is paid from `source`: a wallet, or the PSP's clearing account."""
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
    """All or a part of a payment goes back where it came from. Netted: the biller is owed that much less."""
    return Transfer(
        transfer_id, "refund", payment.credit, payment.debit, amount_minor, occurred_at, payment.id
    )


def refund_to_wallet(
    transfer_id: UUID, payment: Transfer, to: Account, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """A refund that the PSP can't make goes to the payer's wallet. Netted like every refund."""
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
    """The PSP took money for a payment or top-up that has ended here. The id is the one that its success would have."""
    return Transfer(
        transfer_id,
        "late_capture",
        psp_clearing(currency),
        late_captures(currency),
        amount_minor,
        occurred_at,
    )


def late_return(transfer_id: UUID, capture: Transfer, occurred_at: datetime) -> Transfer:
    """The PSP gave a late capture back."""
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
    """Money that the PSP took for a payment or top-up that had ended or was given up, and gave back."""
    capture = late_capture(transfer_id, currency, amount_minor, occurred_at)
    return capture, late_return(late_return_id(subject), capture, occurred_at)


def refund_returned(
    transfer_id: UUID, given_back: UUID, currency: str, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """What the PSP gave back by the transfer `given_back` has come back to it: the payer is owed it."""
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
    """What came back by the transfer `returned` goes to the payer's wallet."""
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
    """The PSP kept its fee."""
    expense = Account("expense:psp-fees", currency)
    clearing = psp_clearing(currency)
    return Transfer(transfer_id, "psp_fee", expense, clearing, amount_minor, occurred_at)


def psp_settlement(
    transfer_id: UUID, currency: str, amount_minor: int, occurred_at: datetime
) -> Transfer:
    """The PSP paid out to our bank account."""
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
    """We sent a biller what it is owed."""
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
    """A correction: a new transfer that names the one it corrects."""
    return Transfer(transfer_id, "adjustment", debit, credit, amount_minor, occurred_at, corrects)
