"""Undo a payment that can't be finished: the biller's mark first, then the hold on the payer's money.

Each step may be repeated. A step that is refused where no refusal may be is looked into, and what is left then is a
case for finance ops; the payment stays open, and we go on asking.
"""

from services.billing.bills.connectors import (
    Applied,
    BillerRefused,
    Connectors,
    NotApplied,
    Unapplied,
)
from services.billing.payments.ask import ChargeOutcome, ask, look, take_mark_back
from services.billing.payments.model import Progress
from services.billing.payments.tables import State
from services.billing.psp import (
    Captured,
    Psp,
    Refunded,
    RefundPending,
    Refused,
    Unknown,
    Voided,
)


class Undo:
    """The outside calls that take a payment back."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors

    async def go_on(self, progress: Progress, leg: str) -> None:
        """Go on where the answer was missing."""
        reason = progress.payment.reason or "undone"
        match leg:
            case "unapply":
                await self.unapply(progress, reason)
            case "void":
                await self.void(progress, reason)
            case _:
                await self._give_back(progress, reason)

    async def unapply(self, progress: Progress, reason: str) -> None:
        """Take back the biller's mark, then let the payer's money go."""
        payment = progress.payment
        progress.reason, progress.action_url = reason, None
        if payment.bill.settled_by == "call":
            connector = await self._connectors.of(payment.bill.biller_id)
            match await take_mark_back(progress.calls, connector, payment.application):
                case BillerRefused(code):
                    progress.case = f"not paid ({reason}), and the biller keeps its mark: {code}"
                    progress.wait("unapply", reason)
                    return
                case Unapplied():
                    pass
                case _:
                    progress.wait("unapply", reason)
                    return
        await self.void(progress, reason)

    async def void(self, progress: Progress, reason: str) -> None:
        """Let the payer's money go: the biller refused, or the payer never confirmed."""
        progress.reason, progress.action_url = reason, None
        if not progress.payment.by_psp:
            self._gone(progress)
            return
        match await self._void_or_look(progress):
            case Voided():
                self._gone(progress)
            case Captured():
                await self._late_success(progress)
            case Refused(code, said):
                progress.case = f"the PSP will not void {progress.intent_id}: {code} {said}"
                progress.wait("void", reason)
            case _:
                progress.wait("void", reason)

    async def _void_or_look(self, progress: Progress) -> ChargeOutcome | Refused:
        payment, intent_id = progress.payment, progress.intent_id
        assert intent_id is not None
        calls, charge = progress.calls, payment.charge
        if payment.attempts:
            found = await ask(calls, "void", look(self._psp, charge, intent_id))
            if isinstance(found, Voided | Captured):
                return found
        answer = await ask(
            calls, "void", self._psp.void(intent_id, payment.subject, payment.currency)
        )
        if not isinstance(answer, Refused):
            return answer
        # Another process of ours may have come to another end meanwhile, so the PSP's book decides.
        found = await ask(calls, "void", look(self._psp, charge, intent_id))
        return found if isinstance(found, Voided | Captured) else answer

    def _gone(self, progress: Progress) -> None:
        # A payer who never confirmed has declined; every other payment was good until somebody else said no.
        unconfirmed = progress.reason in {"action_abandoned", "no_action_page"}
        declined = progress.state == State.ACCEPTED and unconfirmed
        progress.state = State.DECLINED if declined else State.VOIDED

    async def _late_success(self, progress: Progress) -> None:
        # The money was taken after we had given up. Is the bill marked, it is a success; if not, the money goes back.
        payment = progress.payment
        if payment.bill.settled_by == "file":
            progress.state, progress.reason = State.SUCCEEDED, None
            return
        connector = await self._connectors.of(payment.bill.biller_id)
        match await ask(progress.calls, "void", connector.query(payment.application)):
            case Applied():
                progress.state, progress.reason = State.SUCCEEDED, None
            case NotApplied() | Unapplied():
                await self._give_back(progress, progress.reason or "late_success")
            case _:
                progress.wait("void")

    async def _give_back(self, progress: Progress, reason: str) -> None:
        payment, intent_id = progress.payment, progress.intent_id
        assert intent_id is not None
        progress.reason = reason
        answer = await ask(
            progress.calls,
            "refund",
            self._psp.find_refund(
                payment.subject, intent_id, payment.amount_minor, payment.currency
            ),
        )
        if answer is None:
            refund = self._psp.refund(
                payment.subject, intent_id, payment.amount_minor, payment.currency
            )
            answer = await ask(progress.calls, "refund", refund)
        match answer:
            case Refunded(psp_refund_id):
                # Our ledger never saw this money: the PSP's statement will show it coming and going.
                progress.case = f"captured after we gave up; given back as {psp_refund_id}"
                progress.state = State.VOIDED
            case Refused(code, said):
                progress.case = f"captured after we gave up, and can't be given back: {code} {said}"
                progress.wait("refund")
            case RefundPending() | Unknown():
                progress.wait("refund")
