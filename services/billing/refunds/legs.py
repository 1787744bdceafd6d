"""The external calls of a refund: the biller takes its mark back, then the money goes back to where it came from.

Only the refund that completes a payment calls the biller, so that no refunded bill stays marked as paid. A partial
refund is netted with the next remittance.
"""

from errands import ErrandRun
from services.billing.bills.connectors import BillerRefused, Connectors, Unapplied
from services.billing.outside.external_calls import NotYet, take_mark_back
from services.billing.outside.give_back import GiveBack, Stuck
from services.billing.psp import Psp, Refunded, RefundPending
from services.billing.refunds.model import Refund, RefundProgress
from services.billing.refunds.tables import RefundState

# How often a refund that completes its payment is tried while older ones are under way; the last of them wakes it.
WAIT_SECONDS = 5.0


class RefundLegs:
    """The external calls of refunds. One per process."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._give_back = GiveBack(psp)
        self._connectors = connectors

    async def run(self, refund: Refund, run: ErrandRun) -> RefundProgress:
        """Run the refund's legs as far as they go now; return its progress."""
        progress = RefundProgress(refund, run, refund.state, refund.psp_refund_id, refund.reason)
        if refund.waits:
            run.continue_after(WAIT_SECONDS)
            return progress
        institution, leg = refund.first_call
        goes_on = True
        if run.leg == leg == "unapply":
            goes_on = await run.begin(leg, institution) and await self._unapply(progress)
        if goes_on and await run.begin("refund", refund.at_psp):
            await self._refund(progress)
        return progress

    async def _unapply(self, progress: RefundProgress) -> bool:
        refund, run = progress.refund, progress.run
        assert refund.application is not None
        connector = await self._connectors.of(refund.biller_id)
        match await take_mark_back(progress.calls, run, connector, refund.application):
            case Unapplied():
                run.note_answered()
                progress.state = RefundState.UNAPPLIED
                return True
            case BillerRefused(code):
                progress.state, progress.reason = RefundState.FAILED, f"biller_refused:{code}"[:64]
            case NotYet():
                run.continue_after(run.late_effect_seconds_left)
            case _:
                run.note_unknown()
        return False

    async def _refund(self, progress: RefundProgress) -> None:
        refund, run = progress.refund, progress.run
        if refund.intent_id is None:
            progress.state = RefundState.SUCCEEDED
            return
        match await self._give_back.run(
            progress.calls,
            run,
            refund.subject,
            refund.intent_id,
            refund.amount_minor,
            refund.currency,
        ):
            case Refunded(psp_refund_id):
                progress.psp_refund_id, progress.state = psp_refund_id, RefundState.SUCCEEDED
            case RefundPending(psp_refund_id):
                progress.psp_refund_id = psp_refund_id
            case Stuck(code, text) if progress.state == RefundState.ACCEPTED:
                progress.state, progress.reason = RefundState.FAILED, f"psp_refused:{code}"[:64]
            case Stuck(code, text):
                # The biller has taken its mark back, so the money has to go back: a person chooses how.
                run.note_answered()
                progress.stuck = f"{code} {text}"
            case None:
                pass
