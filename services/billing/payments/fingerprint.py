"""What makes two commands the same: everything but the id. An id that comes again with other content is refused."""

import hashlib
from collections.abc import Sequence
from uuid import UUID

from events.payments import PayBill, RefundPayment, TopUpWallet
from services.billing.payments.model import payment_method_of


def of_payment(command: PayBill) -> bytes:
    """A payment's."""
    return _of(
        f"{command.channel}\n{command.payer}\n{command.bill_id.hex}\n{command.amount_minor}\n{command.currency}\n"
        f"{payment_method_of(command) or ''}"
    )


def of_refund(command: RefundPayment) -> bytes:
    """A refund's. The reason is only told, never acted on."""
    return _of(f"{command.payment_id.hex}\n{command.channel}\n{command.amount_minor or ''}")


def of_top_up(command: TopUpWallet) -> bytes:
    """A top-up's."""
    return _of(
        f"{command.channel}\n{command.payer}\n{command.amount_minor}\n{command.currency}\n{command.payment_method}"
    )


def sort_out(
    ids: Sequence[UUID], prints: Sequence[bytes], known: dict[UUID, bytes]
) -> tuple[list[int], list[int]]:
    """Which positions of a batch are new, and which reuse an id; what was said before is neither.

    `known` holds what is kept already and is added to, so that a batch is compared with itself as well.
    """
    fresh: list[int] = []
    reused: list[int] = []
    for position, (id, print) in enumerate(zip(ids, prints, strict=True)):
        before = known.setdefault(id, print)
        if before is print:
            fresh.append(position)
        elif before != print:
            reused.append(position)
    return fresh, reused


def _of(said: str) -> bytes:
    # No field can hold a line feed, and 16 bytes are enough to tell a mistake.
    return hashlib.blake2b(said.encode(), digest_size=16).digest()
