"""Errands for late reports: a webhook of the PSP about a payment, refund or top-up that has ended here writes one.

A webhook is only a hint. When it reports money as held or taken, the intent is retrieved; when it reports a refund as
failed, the refund is looked up. These errands have kinds of their own, because an ended row has no other errand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Errand, Key, NewErrand
from services.billing import ledger
from services.billing.institutions import PSP
from services.billing.outside.cases import NewCase, open_cases
from services.billing.outside.ended import Ended
from services.billing.payments import ended as payments
from services.billing.refunds import ended as refunds
from services.billing.subject import Kind, Subject
from services.billing.top_ups import ended as top_ups

# The kind of errand for late reports about each kind of subject.
KINDS: Mapping[Kind, str] = {
    Kind.PAYMENT: "late_payment",
    Kind.REFUND: "late_refund",
    Kind.TOP_UP: "late_top_up",
}
_ROWS = {Kind.PAYMENT: payments.ROWS, Kind.TOP_UP: top_ups.ROWS}
_LOCK = {
    Kind.PAYMENT: payments.ROWS.lock,
    Kind.REFUND: refunds.lock_ended,
    Kind.TOP_UP: top_ups.ROWS.lock,
}
_READ_ENDED = {
    Kind.PAYMENT: payments.read_ended,
    Kind.REFUND: refunds.read_ended,
    Kind.TOP_UP: top_ups.read_ended,
}


@dataclass(frozen=True, slots=True)
class LateReport:
    """A row that has ended and about which the PSP has reported something since, with its errand."""

    ended: Ended
    errand: Errand

    @property
    def subject(self) -> Subject:
        """The payment, refund or top-up, as external calls and cases refer to it."""
        return self.ended.subject


async def add_errand_for_reported_money(
    connection: AsyncConnection, subject: Subject, intent_id: str
) -> None:
    """Handle a report that the PSP holds or has money: if the row has ended without money, add an errand to verify
    it.
    """
    stored = await _ROWS[subject.kind].store_intent(connection, subject.id, intent_id)
    if stored is None or await _is_booked(connection, stored.transfer_id, "late_capture"):
        return
    if stored.intent_id == intent_id:
        await _add(connection, subject, "look")
        return
    note = (
        f"the PSP reports money under {intent_id}, but the {subject.kind.label} has ended under {stored.intent_id}:"
        " compare both at the PSP, and give back any money that was captured without a payment"
    )
    await open_cases(connection, [NewCase(subject, "late_word", note)])


async def add_errand_for_failed_refund(connection: AsyncConnection, subject: Subject) -> None:
    """Handle a report that a refund has failed: if it had succeeded here, add an errand to verify it."""
    transfer_id = await _LOCK[subject.kind](connection, subject.id)
    if transfer_id is None or await _is_booked(
        connection, ledger.refund_returned_id(subject), "refund_returned"
    ):
        return
    if subject.kind == Kind.REFUND:
        # A refund to the wallet is not at the PSP.
        if await _is_booked(connection, transfer_id, "refund"):
            await _add(connection, subject, "find")
        return
    given_back = await _is_booked(connection, ledger.late_return_id(subject), "late_return")
    await _add(connection, subject, "find" if given_back else "look")


async def read(
    kind: Kind, connection: AsyncConnection, claimed: Sequence[Errand]
) -> list[LateReport]:
    """Return the subjects of these errands; an errand whose subject has not ended without money (or, a refund, with
    success) is deleted.
    """
    errands_by_subject = {each.subject: each for each in claimed}
    ended = await _READ_ENDED[kind](connection, list(errands_by_subject))
    await errands.end_all_but(connection, claimed, {each.subject.id for each in ended})
    return [LateReport(each, errands_by_subject[each.subject.id]) for each in ended]


def key_of(subject: Subject) -> Key:
    """Return the key of the errand about late reports on this subject."""
    return KINDS[subject.kind], subject.id


async def _is_booked(connection: AsyncConnection, transfer_id: UUID, kind: str) -> bool:
    return (await ledger.booked(connection, [transfer_id])).get(transfer_id) == kind


async def _add(connection: AsyncConnection, subject: Subject, leg: str) -> None:
    await errands.add(connection, [NewErrand(KINDS[subject.kind], subject.id, PSP, leg)])
