"""The outside calls of a refund: the biller takes its mark back, then the money goes back where it came from.

Only the refund that completes a payment asks the biller: a bill is never refunded and still marked paid, and a part is
netted with the next remittance.
"""

from services.billing.bills.connectors import BillerRefused, Connectors, Unapplied
from services.billing.payments.ask import ask, take_mark_back
from services.billing.payments.refund import Refund, RefundProgress
from services.billing.psp import Psp, Refunded, RefundPending, Refused, Unknown

Answer = Refunded | RefundPending | Refused | Unknown


class RefundLegs:
    """The outside calls of refunds. Made once per process."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors

    async def run(self, refund: Refund) -> RefundProgress:
        """Take the refund as far as it goes now."""
        progress = RefundProgress(refund, refund.state, refund.psp_refund_id, reason=refund.reason)
        if refund.waits:
            return progress
        if refund.state == "accepted" and not await self._unapply(progress):
            return progress
        await self._give_back(progress)
        return progress

    async def _unapply(self, progress: RefundProgress) -> bool:
        refund = progress.refund
        if refund.by_file or not refund.completes:
            return True  # a biller that works by file reads it in the day file
        connector = await self._connectors.of(refund.biller_id)
        match await take_mark_back(progress.calls, connector, refund.application):
            case Unapplied():
                progress.state = "unapplied"
                return True
            case BillerRefused(code):
                progress.state, progress.reason = "failed", f"biller_refused:{code}"[:64]
            case _:
                progress.unknown_leg = "unapply"
        return False

    async def _give_back(self, progress: RefundProgress) -> None:
        refund = progress.refund
        if refund.intent_id is None:
            progress.state = "succeeded"
            return
        match await ask(progress.calls, "refund", self._refund_or_find(refund, refund.intent_id)):
            case Refunded(psp_refund_id):
                progress.psp_refund_id, progress.state = psp_refund_id, "succeeded"
            case RefundPending(psp_refund_id):
                progress.psp_refund_id, progress.unknown_leg = psp_refund_id, "refund"
            case Refused(code, said):
                self._refused(progress, code, said)
            case _:
                progress.unknown_leg = "refund"

    async def _refund_or_find(self, refund: Refund, intent_id: str) -> Answer:
        asked = (refund.subject, intent_id, refund.amount_minor, refund.application.currency)
        if refund.attempts or refund.psp_refund_id:
            # The list does not lag, so what is not on it may be asked for again, even after the key was forgotten.
            found = await self._psp.find_refund(*asked)
            if found is not None:
                return found
        return await self._psp.refund(*asked)

    def _refused(self, progress: RefundProgress, code: str, said: str) -> None:
        if progress.state == "accepted":
            progress.state, progress.reason = "failed", f"psp_refused:{code}"[:64]
        else:
            # The biller has taken its mark back, so this money has to go back: a person must find the way.
            progress.unknown_leg = "refund"
            progress.case = (
                f"unapplied at the biller, but the PSP refuses the refund: {code} {said}"
            )
