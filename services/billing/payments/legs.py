"""Ask outside for one payment: authorize at the PSP, apply at the biller, capture at the PSP.

A payment that is redelivered or resumed repeats the same calls with the same keys; one that was taken up before
(`attempts`) looks first at what its earlier calls came to, for the process that made them may have died.
"""

from datetime import UTC, datetime

from services.billing.bills.connectors import (
    Applied,
    ApplyAnswer,
    BillerRefused,
    Connectors,
    NotApplied,
    QueryAnswer,
    Unapplied,
)
from services.billing.payments.ask import (
    ACTION_WINDOW,
    ChargeOutcome,
    afresh,
    ask,
    look,
    seek,
)
from services.billing.payments.model import Payment, Progress
from services.billing.payments.tables import State
from services.billing.payments.undo import Undo
from services.billing.psp import (
    ActionRequired,
    Authorized,
    Captured,
    Declined,
    Psp,
    Refused,
    Unknown,
    Voided,
)


class Legs:
    """The outside calls of payments. Made once per process, from its PSP client and its connectors."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors
        self._undo = Undo(psp, connectors)

    async def run(self, payment: Payment) -> Progress:
        """Take the payment as far as it goes now."""
        progress = Progress.of(payment)
        match payment.unknown_leg:
            case "unapply" | "void" | "refund" as leg:
                await self._undo.go_on(progress, leg)
                return progress
        if progress.state == State.ACCEPTED and not await self._authorize(progress):
            return progress
        if progress.state == State.AUTHORIZED and not await self._apply(progress):
            return progress
        await self._capture(progress)
        return progress

    async def _authorize(self, progress: Progress) -> bool:
        payment = progress.payment
        match await ask(progress.calls, "authorize", self._authorize_or_find(payment)):
            case Authorized(intent_id) | Captured(intent_id):
                # Captured: an earlier attempt got that far. The biller and the PSP say so again below.
                progress.intent_id = intent_id
                progress.state = State.AUTHORIZED
                progress.authorized_at = datetime.now(UTC)
                return True
            case ActionRequired(intent_id, None):
                # Nobody can confirm what can't be shown, and the bill must not be held for it.
                progress.intent_id = intent_id
                await self._undo.void(progress, "no_action_page")
            case ActionRequired(intent_id, url):
                progress.intent_id = intent_id
                if datetime.now(UTC) - payment.created_at > ACTION_WINDOW:
                    await self._undo.void(progress, "action_abandoned")
                else:
                    progress.action_url = url
            case Declined(intent_id, code, _):
                progress.intent_id = intent_id or progress.intent_id
                progress.state, progress.reason = State.DECLINED, code[:64]
            case Voided(intent_id):
                # Let go by an earlier attempt, or expired: the biller may have marked the bill meanwhile.
                progress.intent_id = intent_id
                await self._undo.unapply(progress, payment.reason or "voided_at_psp")
            case Unknown():
                progress.action_url = payment.action_url
                progress.wait("authorize")
        return False

    async def _authorize_or_find(self, payment: Payment) -> ChargeOutcome:
        charge = payment.charge
        found = await seek(
            self._psp, charge, payment.intent_id, payment.attempts, payment.created_at
        )
        if found is not None:
            return found
        answer = await self._psp.authorize(charge)
        if not payment.attempts:
            return answer
        return await afresh(self._psp, charge, answer, payment.created_at)

    async def _apply(self, progress: Progress) -> bool:
        payment = progress.payment
        if payment.bill.settled_by == "file":
            progress.state, progress.applied_at = State.APPLIED, datetime.now(UTC)
            return True
        match await self._apply_or_query(progress):
            case Applied():
                progress.state, progress.applied_at = State.APPLIED, datetime.now(UTC)
                return True
            case BillerRefused(code) if payment.attempts:
                # An earlier attempt's call may still be on its way: taking the mark back blocks it.
                await self._undo.unapply(progress, code[:64])
            case BillerRefused(code):
                await self._undo.void(progress, code[:64])
            case Unapplied():
                await self._undo.void(progress, "unapplied_by_biller")
            case _:
                progress.wait("apply")
        return False

    async def _apply_or_query(self, progress: Progress) -> ApplyAnswer | QueryAnswer:
        payment = progress.payment
        connector = await self._connectors.of(payment.bill.biller_id)
        if payment.attempts:
            said = await ask(progress.calls, "apply", connector.query(payment.application))
            if not isinstance(said, NotApplied):
                return said
        return await ask(progress.calls, "apply", connector.apply(payment.application))

    async def _capture(self, progress: Progress) -> None:
        payment = progress.payment
        if not payment.by_psp:
            progress.state = State.SUCCEEDED
            return
        assert progress.intent_id is not None
        match await self._capture_or_look(progress, progress.intent_id):
            case Captured():
                progress.state = State.SUCCEEDED
            case Refused(code, _):
                await self._undo.unapply(progress, code[:64])
            case Voided():
                await self._undo.unapply(progress, "hold_expired")
            case _:
                progress.wait("capture")

    async def _capture_or_look(self, progress: Progress, intent_id: str) -> ChargeOutcome | Refused:
        payment = progress.payment
        if payment.attempts:
            look_up = look(self._psp, payment.charge, intent_id)
            found = await ask(progress.calls, "capture", look_up)
            if not isinstance(found, Authorized):
                return found
        capture = self._psp.capture(
            intent_id, payment.subject, payment.amount_minor, payment.currency
        )
        return await ask(progress.calls, "capture", capture)
