"""The external calls of a top-up: charge the payer's means of payment, or find the outcome of an earlier charge."""

from errands import ErrandRun
from services.billing.institutions import LEDGER, PSP
from services.billing.outside.external_calls import (
    ACTION_WINDOW,
    NeverCharged,
    charge_or_find,
    send,
)
from services.billing.outside.recording import ACTION_POLL_SECONDS
from services.billing.psp import ActionRequired, Captured, Declined, Psp, Voided
from services.billing.top_ups.model import TopUp, TopUpProgress
from services.billing.top_ups.tables import TopUpState


class TopUpLegs:
    """The external calls of top-ups. One per process."""

    def __init__(self, psp: Psp) -> None:
        self._psp = psp

    async def run(self, top_up: TopUp, run: ErrandRun) -> TopUpProgress:
        """Run the top-up's leg as far as it goes now; return its progress."""
        progress = TopUpProgress(
            top_up, run, TopUpState.ACCEPTED, top_up.intent_id, reason=top_up.reason
        )
        if run.leg == "void" and top_up.intent_id is None:
            # It waited too long for a place, and the PSP was never called.
            if await run.begin("void", LEDGER):
                progress.state = TopUpState.DECLINED
            return progress
        # Also after a void without an answer: a payer who confirmed meanwhile has topped up.
        if await run.begin("charge", PSP):
            await self._charge(progress)
        return progress

    async def _charge(self, progress: TopUpProgress) -> None:
        top_up, run = progress.top_up, progress.run
        call = charge_or_find(
            self._psp, top_up.charge, self._psp.charge, top_up.intent_id, run, top_up.created_at
        )
        match await send(progress.calls, run, "charge", call):
            case Captured(intent_id):
                progress.intent_id, progress.reason = intent_id, None
                progress.state = TopUpState.SUCCEEDED
            case Declined(intent_id, code, _):
                progress.intent_id = intent_id or top_up.intent_id
                progress.state, progress.reason = TopUpState.DECLINED, code[:64]
            case Voided():
                progress.state, progress.reason = (
                    TopUpState.DECLINED,
                    top_up.reason or "voided_at_psp",
                )
            case ActionRequired(intent_id, url):
                run.note_answered()
                progress.intent_id = intent_id
                abandoned = run.errand.claimed_at - top_up.created_at > ACTION_WINDOW
                if url and not abandoned:
                    progress.action_url = url
                    run.continue_after(ACTION_POLL_SECONDS)
                else:
                    reason = "action_abandoned" if url else "no_action_page"
                    await self._give_up(progress, intent_id, reason)
            case NeverCharged():
                run.retry_with_new_key()
            case _:
                progress.action_url = top_up.action_url
                run.note_unknown()

    async def _give_up(self, progress: TopUpProgress, intent_id: str, reason: str) -> None:
        # The payer never confirmed. A late success is still found and booked: `charge` will find it captured.
        run = progress.run
        progress.reason = reason
        if not await run.begin("void", PSP):
            return
        call = self._psp.void(intent_id, progress.top_up.subject, progress.top_up.currency)
        match await send(progress.calls, run, "void", call):
            case Voided():
                progress.state = TopUpState.DECLINED
            case _:
                run.note_unknown()
