"""The outside call of a top-up: charge the payer's means of payment, or find what an earlier charge came to."""

from datetime import UTC, datetime

from services.billing.payments.ask import ACTION_WINDOW, ChargeOutcome, afresh, ask, seek
from services.billing.payments.top_up import TopUp, TopUpProgress
from services.billing.psp import (
    ActionRequired,
    Captured,
    Declined,
    Psp,
    Refused,
    Unknown,
    Voided,
)


class TopUpLegs:
    """The outside calls of top-ups. Made once per process."""

    def __init__(self, psp: Psp) -> None:
        self._psp = psp

    async def run(self, top_up: TopUp) -> TopUpProgress:
        """Take the top-up as far as it goes now."""
        progress = TopUpProgress(top_up, "accepted", top_up.intent_id, reason=top_up.reason)
        abandoned = datetime.now(UTC) - top_up.created_at > ACTION_WINDOW
        match await ask(progress.calls, "charge", self._charge_or_find(top_up)):
            case Captured(intent_id):
                progress.intent_id, progress.state, progress.reason = intent_id, "succeeded", None
            case Declined(intent_id, code, _):
                progress.intent_id = intent_id or top_up.intent_id
                progress.state, progress.reason = "declined", code[:64]
            case Voided():
                progress.state, progress.reason = "declined", top_up.reason or "voided_at_psp"
            case ActionRequired(intent_id, str(url)) if not abandoned:
                progress.intent_id, progress.action_url = intent_id, url
            case ActionRequired(intent_id, url):
                progress.intent_id = intent_id
                reason = "action_abandoned" if url else "no_action_page"
                await self._give_up(progress, intent_id, reason)
            case _:
                progress.action_url, progress.unknown_leg = top_up.action_url, "charge"
        return progress

    async def _charge_or_find(self, top_up: TopUp) -> ChargeOutcome:
        charge = top_up.charge
        found = await seek(self._psp, charge, top_up.intent_id, top_up.attempts, top_up.created_at)
        if found is not None:
            return found
        answer = await self._psp.charge(charge)
        return (
            await afresh(self._psp, charge, answer, top_up.created_at)
            if top_up.attempts
            else answer
        )

    async def _give_up(self, progress: TopUpProgress, intent_id: str, reason: str) -> None:
        # The payer never confirmed. A late success is looked for again, and booked: `charge` will find it captured.
        top_up = progress.top_up
        void = self._psp.void(intent_id, top_up.subject, top_up.currency)
        match await ask(progress.calls, "void", void):
            case Voided():
                progress.state, progress.reason = "declined", reason
            case Refused() | Unknown():
                progress.unknown_leg, progress.reason = "void", reason
