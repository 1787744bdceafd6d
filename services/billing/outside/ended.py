"""What has ended here, and of which the PSP may tell something later. Its owners read it; late/ asks about it."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from services.billing.bills.connectors import Application
from services.billing.subject import Subject


class KeptIntent(NamedTuple):
    """The intent that is kept of something that has ended without money, and the id of the transfer that would have
    booked it."""

    intent_id: str
    transfer_id: UUID


@dataclass(frozen=True, slots=True)
class Ended:
    """Something that has ended. `how` says in words how; the transfer with `transfer_id` books it, or would have.

    `application`: the apply of a payment that the biller was asked about.
    """

    subject: Subject
    intent_id: str
    amount_minor: int
    currency: str
    how: str
    transfer_id: UUID
    biller_id: str = ""
    application: Application | None = None


def in_words(state: str, reason: str | None) -> str:
    """How it ended: `voided: closed_for_today`."""
    return f"{state}: {reason}" if reason else state
