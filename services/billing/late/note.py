"""What the PSP tells of something that has ended here: the errand that a webhook writes, and what its calls need.

A webhook is a hint. Money that it says is held or taken is looked at; a refund that it says has failed is looked for.
The errands have kinds of their own, for nothing else may be under way about what has ended.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

from sqlalchemy import Row, TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from chassis.database import one_of
from errands import Errand, Key, NewErrand
from services.billing import ledger
from services.billing.bills.connectors import Application
from services.billing.institutions import PSP
from services.billing.outside.cases import NewCase, open_cases
from services.billing.payments.model import serial_of
from services.billing.payments.tables import WITHOUT_MONEY
from services.billing.subject import Kind, Subject

# The kinds of their errands.
KINDS: Mapping[Kind, str] = {
    Kind.PAYMENT: "late_payment",
    Kind.REFUND: "late_refund",
    Kind.TOP_UP: "late_top_up",
}
_ENDED = one_of("p.state", WITHOUT_MONEY)

# An intent that we did not know is kept: it was named by the PSP, and is compared when it is looked at.
_KEEP_INTENT: Mapping[Kind, TextClause] = {
    Kind.PAYMENT: text(f"""
        UPDATE payments p SET psp_intent_id = coalesce(p.psp_intent_id, :intent_id)
        WHERE p.id = :id AND p.funding = 'psp' AND {_ENDED} RETURNING p.psp_intent_id, p.id AS capture_id
    """),  # noqa: S608 - the states are our own constants
    Kind.TOP_UP: text("""
        UPDATE top_ups t SET psp_intent_id = coalesce(t.psp_intent_id, :intent_id)
        WHERE t.id = :id AND t.state = 'declined' RETURNING t.psp_intent_id, t.transfer_id AS capture_id
    """),
}
_LOCK: Mapping[Kind, TextClause] = {
    Kind.PAYMENT: text(f"""
        SELECT p.id AS transfer_id FROM payments p
        WHERE p.id = :id AND p.psp_intent_id IS NOT NULL AND {_ENDED} FOR NO KEY UPDATE
    """),  # noqa: S608 - the states are our own constants
    Kind.REFUND: text("""
        SELECT r.transfer_id FROM refunds r JOIN payments p ON p.id = r.payment_id
        WHERE r.id = :id AND r.state = 'succeeded' AND p.psp_intent_id IS NOT NULL FOR NO KEY UPDATE OF r
    """),
    Kind.TOP_UP: text("""
        SELECT t.transfer_id FROM top_ups t WHERE t.id = :id AND t.state = 'declined' AND t.psp_intent_id IS NOT NULL
        FOR NO KEY UPDATE
    """),
}
# What books the money is the payment's transfer, the refund's or the top-up's.
_READ: Mapping[Kind, TextClause] = {
    Kind.PAYMENT: text(f"""
        SELECT p.id, p.psp_intent_id, p.amount_minor, p.currency, p.state, p.reason, p.id AS transfer_id, p.biller_id,
            a.account_number, l.bill_number, b.settled_by = 'call' AND EXISTS (
                SELECT FROM outside_calls c WHERE c.subject = p.id AND c.subject_kind = 'payment'
                AND c.leg IN ('apply', 'unapply')) AS reached_biller
        FROM payments p LEFT JOIN billers b ON b.id = p.biller_id LEFT JOIN accounts a ON a.id = p.account_id
            LEFT JOIN bills l ON l.id = p.bill_id
        WHERE p.id = ANY(CAST(:ids AS uuid[])) AND p.psp_intent_id IS NOT NULL AND {_ENDED}
    """),  # noqa: S608 - the states are our own constants
    Kind.REFUND: text("""
        SELECT r.id, p.psp_intent_id, r.amount_minor, p.currency, r.state, r.reason, r.transfer_id,
            false AS reached_biller
        FROM refunds r JOIN payments p ON p.id = r.payment_id
        WHERE r.id = ANY(CAST(:ids AS uuid[])) AND r.state = 'succeeded' AND p.psp_intent_id IS NOT NULL
    """),
    Kind.TOP_UP: text("""
        SELECT t.id, t.psp_intent_id, t.amount_minor, t.currency, t.state, t.reason, t.transfer_id,
            false AS reached_biller
        FROM top_ups t
        WHERE t.id = ANY(CAST(:ids AS uuid[])) AND t.state = 'declined' AND t.psp_intent_id IS NOT NULL
    """),
}


@dataclass(frozen=True, slots=True)
class LateWord:
    """Something that has ended, of which the PSP has told since. `ended` says how it ended.

    `application`: the apply of a payment that the biller was asked about.
    """

    subject: Subject
    intent_id: str
    amount_minor: int
    currency: str
    ended: str
    transfer_id: UUID
    errand: Errand
    biller_id: str = ""
    application: Application | None = None


async def note_money(connection: AsyncConnection, subject: Subject, intent_id: str) -> None:
    """The PSP says that it holds or has money of a payment or top-up: if that has ended without, have it looked at."""
    kept = await connection.execute(
        _KEEP_INTENT[subject.kind], {"id": subject.id, "intent_id": intent_id}
    )
    row = kept.one_or_none()
    if row is None or await _is_booked(connection, row.capture_id, "late_capture"):
        return
    if row.psp_intent_id == intent_id:
        await _add(connection, subject, "look")
        return
    note = (
        f"the PSP says that it holds or has money under {intent_id}, and the {subject.kind.label} has ended under"
        f" {row.psp_intent_id}: see both at the PSP, and give back what was taken"
    )
    await open_cases(connection, [NewCase(subject, "late_word", note)])


async def note_failed_refund(connection: AsyncConnection, subject: Subject) -> None:
    """The PSP says that what it gave back for this subject has failed: if it had succeeded here, have it looked for."""
    ended = (await connection.execute(_LOCK[subject.kind], {"id": subject.id})).one_or_none()
    if ended is None or await _is_booked(
        connection, ledger.refund_returned_id(subject), "refund_returned"
    ):
        return
    if subject.kind == Kind.REFUND:
        # What went to the wallet is not with the PSP.
        if await _is_booked(connection, ended.transfer_id, "refund"):
            await _add(connection, subject, "find")
        return
    given_back = await _is_booked(connection, ledger.late_return_id(subject), "late_return")
    await _add(connection, subject, "find" if given_back else "look")


async def read(
    kind: Kind, connection: AsyncConnection, claimed: Sequence[Errand]
) -> list[LateWord]:
    """What these errands are about; the errand of what has not ended so goes."""
    found = {each.subject: each for each in claimed}
    rows = (await connection.execute(_READ[kind], {"ids": list(found)})).all()
    there = {row.id for row in rows}
    await errands.end_all_but(connection, claimed, there)
    return [_word(kind, row, found[row.id]) for row in rows]


def key_of(subject: Subject) -> Key:
    """The errand about what the PSP told late of this subject."""
    return KINDS[subject.kind], subject.id


def _word(kind: Kind, row: Row[Any], errand: Errand) -> LateWord:
    word = LateWord(
        Subject(kind, row.id),
        row.psp_intent_id,
        row.amount_minor,
        row.currency,
        f"{row.state}: {row.reason}" if row.reason else row.state,
        row.transfer_id,
        errand,
    )
    if not row.reached_biller:
        return word
    applied = Application(
        serial_of(row.id), row.account_number, row.bill_number, row.amount_minor, row.currency
    )
    return replace(word, biller_id=row.biller_id, application=applied)


async def _is_booked(connection: AsyncConnection, transfer_id: UUID, kind: str) -> bool:
    return (await ledger.booked(connection, [transfer_id])).get(transfer_id) == kind


async def _add(connection: AsyncConnection, subject: Subject, leg: str) -> None:
    await errands.add(connection, [NewErrand(KINDS[subject.kind], subject.id, PSP, leg)])
