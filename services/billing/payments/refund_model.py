"""A refund under way, and what its outside calls brought. Plain values, and how they are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import NO_ERRAND, Errand, Turn
from events.ids import derived_id
from services.billing import institutions, ledger
from services.billing.bills.connectors import Application
from services.billing.payments.model import Call, in_words, serial_of
from services.billing.subject import Kind, Subject

_READ = text("""
    SELECT r.id, r.transfer_id, r.payment_id, r.amount_minor, r.state, r.psp_refund_id, r.correlation_id, r.reason,
        r.reversal, p.psp_intent_id, p.biller_id, p.channel_id, p.payer, p.currency, p.funding, b.settled_by,
        p.amount_minor AS applied_minor, a.account_number, l.bill_number,
        older.open_minor, p.refunded_minor + older.open_minor + r.amount_minor = p.captured_minor AS completes
    FROM refunds r JOIN payments p ON p.id = r.payment_id JOIN billers b ON b.id = p.biller_id
    JOIN accounts a ON a.id = p.account_id JOIN bills l ON l.id = p.bill_id
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(o.amount_minor), 0) AS open_minor FROM refunds o
        WHERE o.payment_id = r.payment_id AND o.state IN ('accepted', 'unapplied')
          AND (o.created_at, o.id) < (r.created_at, r.id)) older
    WHERE r.id = ANY(CAST(:ids AS uuid[])) AND r.state IN ('accepted', 'unapplied')
""")


@dataclass(frozen=True, slots=True)
class Refund:
    """A refund under way, with what its calls need. `completes`: with it all of the payment has gone back."""

    id: UUID
    payment_id: UUID
    amount_minor: int
    state: str
    application: Application | None = (
        None  # the apply that marked the bill; set once the refund is read
    )
    currency: str = ""
    intent_id: str | None = None  # empty: the wallet paid
    wallet: ledger.Account | None = None  # empty: the PSP paid
    biller_id: str = ""
    completes: bool = False
    waits: bool = False  # completes, and older refunds of the payment are not through
    by_file: bool = False
    errand: Errand = NO_ERRAND
    psp_refund_id: str | None = None
    reason: str | None = None
    correlation_id: str | None = None
    reversal: bool = False  # the biller took its mark back by itself
    reserved: bool = True  # whether the amount is set aside on the payment
    to_wallet: bool = False  # the PSP could not give it back, so the payer's wallet gets it
    transfer_id: UUID | None = None  # of the transfer that books it; set once the refund is kept

    @property
    def subject(self) -> Subject:
        """The refund, as calls and cases name it."""
        return Subject(Kind.REFUND, self.id)

    @property
    def first_leg(self) -> tuple[str, str]:
        """What is asked first, as (leg, institution)."""
        if self.state == "accepted" and self.completes and not self.by_file:
            return "unapply", institutions.of_biller(self.biller_id)
        return "refund", self.at_psp

    @property
    def at_psp(self) -> str:
        """The institution that gives the money back."""
        return institutions.LEDGER if self.intent_id is None else institutions.PSP


class Outcome(Protocol):
    """What became of a refund, however it was learnt."""

    @property
    def refund(self) -> Refund: ...

    @property
    def state(self) -> str: ...

    @property
    def reason(self) -> str | None: ...


class Decided(NamedTuple):
    """A refund as acceptance decided about it: `state` is accepted, unapplied or failed."""

    refund: Refund
    state: str
    reason: str | None = None


@dataclass(slots=True)
class RefundProgress:
    """How far a refund came."""

    refund: Refund
    turn: Turn
    state: str
    psp_refund_id: str | None = None
    reason: str | None = None
    case: str | None = None
    # Why the PSP will not give back what has to go back: nobody outside is asked any more.
    stuck: str | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def subject(self) -> Subject:
        """The refund, as calls and cases name it."""
        return self.refund.subject

    def learnt(self) -> str:
        """See cases.Result."""
        return in_words(self.state, self.reason, self.turn, refund=self.psp_refund_id)


@dataclass(frozen=True, slots=True)
class Reversal:
    """A biller took its mark back without being asked. `reason` is a short code, for example taken_back_by_biller."""

    payment_id: UUID
    reason: str = "taken_back_by_biller"

    @property
    def refund_id(self) -> UUID:
        """The refund that it becomes: there is at most one reversal of a payment."""
        return derived_id("reversal", self.payment_id)


async def read_open(connection: AsyncConnection, claimed: Sequence[Errand]) -> list[Refund]:
    """The refunds of these errands that are still under way; the errand of one that has ended goes."""
    found = {each.subject: each for each in claimed}
    refunds = await read(connection, list(found))
    still_open = {each.id for each in refunds}
    await errands.end_all_but(connection, claimed, still_open)
    return [replace(each, errand=found[each.id]) for each in refunds]


async def read(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Refund]:
    """The refunds among these that are still under way, without their errands."""
    if not ids:
        return []
    rows = await connection.execute(_READ, {"ids": list(ids)})
    return [
        Refund(
            id=row.id,
            payment_id=row.payment_id,
            amount_minor=row.amount_minor,
            state=row.state,
            application=Application(
                serial_of(row.payment_id),
                row.account_number,
                row.bill_number,
                row.applied_minor,
                row.currency,
            ),
            currency=row.currency,
            intent_id=row.psp_intent_id,
            wallet=ledger.wallet(row.channel_id, row.payer, row.currency)
            if row.funding == "wallet"
            else None,
            biller_id=row.biller_id,
            completes=row.completes,
            waits=row.completes and row.open_minor > 0,
            by_file=row.settled_by == "file",
            psp_refund_id=row.psp_refund_id,
            reason=row.reason,
            correlation_id=row.correlation_id,
            reversal=row.reversal,
            transfer_id=row.transfer_id,
        )
        for row in rows
    ]
