"""The external calls of one payment: authorize at the PSP, apply at the biller, capture at the PSP; or undo (undo.py).

Each leg leads to the next one or to an end. A run stops when a response is missing or an institution has no free place.
A later run continues from there with the same keys; where a call may have been sent before, it queries first.
"""

from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime

from errands import ErrandRun
from services.billing import institutions
from services.billing.bills.connectors import (
    Applied,
    ApplyAnswer,
    BillerRefused,
    Connectors,
    NotApplied,
    QueryAnswer,
    Unapplied,
)
from services.billing.outside.external_calls import (
    ACTION_WINDOW,
    ChargeOutcome,
    NeverCharged,
    charge_or_find,
    retrieve,
    send,
)
from services.billing.outside.recording import ACTION_POLL_SECONDS
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

# Runs one leg of a payment; returns the next leg, or None where the run stops.
Step = Callable[[Progress], Awaitable[str | None]]
_AT_BILLER = ("apply", "unapply", "recheck")


class Legs:
    """The external calls of payments. One per process, with its PSP client and its connectors."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors
        self._steps: Mapping[str, Step] = {
            "authorize": self._authorize,
            "apply": self._apply,
            "capture": self._capture,
            **Undo(psp, connectors).steps,
        }

    async def run(self, payment: Payment, run: ErrandRun) -> Progress:
        """Run the payment's legs as far as they go now; return its progress."""
        progress = Progress(payment, run, payment.state, payment.intent_id, reason=payment.reason)
        leg: str | None = run.leg
        while leg and await run.begin(leg, _institution(leg, progress)):
            leg = await self._steps[leg](progress)
        return progress

    async def _authorize(self, progress: Progress) -> str | None:
        payment, run = progress.payment, progress.run
        match await send(progress.calls, run, "authorize", self._charge_or_find(progress)):
            case Authorized(intent_id) | Captured(intent_id):
                # Captured by an earlier run. The calls below confirm it at the biller and the PSP.
                run.note_answered()
                progress.intent_id, progress.authorized_at = intent_id, datetime.now(UTC)
                progress.state = State.AUTHORIZED
                return _to_biller(progress)
            case ActionRequired(intent_id, None):
                # The payer cannot confirm on a page that cannot be shown, and the bill must not stay locked.
                progress.intent_id, progress.reason = intent_id, "no_action_page"
                return "void"
            case ActionRequired(intent_id, url):
                run.note_answered()
                progress.intent_id = intent_id
                if run.errand.claimed_at - payment.created_at > ACTION_WINDOW:
                    progress.reason = "action_abandoned"
                    return "void"
                progress.action_url = url
                run.continue_after(ACTION_POLL_SECONDS)
            case Declined(intent_id, code, _):
                progress.intent_id = intent_id or progress.intent_id
                progress.state, progress.reason = State.DECLINED, code[:64]
            case Voided(intent_id):
                # Released by an earlier run, or expired: the biller may have marked the bill meanwhile.
                progress.intent_id = intent_id
                progress.reason = payment.reason or "voided_at_psp"
                return "unapply"
            case NeverCharged():
                run.retry_with_new_key()
            case Unknown():
                progress.action_url = payment.action_url
                run.note_unknown()
        return None

    async def _charge_or_find(self, progress: Progress) -> ChargeOutcome | NeverCharged:
        payment = progress.payment
        return await charge_or_find(
            self._psp,
            payment.charge,
            self._psp.authorize,
            payment.intent_id,
            progress.run,
            payment.created_at,
        )

    async def _apply(self, progress: Progress) -> str | None:
        payment, run = progress.payment, progress.run
        before = run.may_have_been_sent
        if not before and payment.bill.expires_at <= run.errand.claimed_at:
            # The bill has expired while the payment waited for its payer to confirm, or for a place.
            progress.reason = "bill_expired" if payment.action_url else "institution_busy"
            return "void"
        match await self._apply_or_query(progress):
            case Applied():
                run.note_answered()
                progress.state, progress.applied_at = State.APPLIED, datetime.now(UTC)
                return _to_psp(progress)
            case BillerRefused(code) if before:
                # An earlier apply may still be on its way: unapply blocks it.
                progress.reason = code[:64]
                return "unapply"
            case BillerRefused(code):
                progress.reason = code[:64]
                return "void"
            case Unapplied():
                progress.reason = "unapplied_by_biller"
                return "void"
        run.note_unknown()
        return None

    async def _apply_or_query(self, progress: Progress) -> ApplyAnswer | QueryAnswer:
        payment, run = progress.payment, progress.run
        connector = await self._connectors.of(payment.bill.biller_id)
        if run.may_have_been_sent:
            found = await send(progress.calls, run, "apply", connector.query(payment.application))
            if not isinstance(found, NotApplied):
                return found
        return await send(progress.calls, run, "apply", connector.apply(payment.application))

    async def _capture(self, progress: Progress) -> str | None:
        match await self._capture_or_retrieve(progress):
            case Captured():
                progress.state = State.SUCCEEDED
            case Refused(code, _):
                progress.reason = code[:64]
                return "unapply"
            case Voided():
                progress.reason = "hold_expired"
                return "unapply"
            case _:
                progress.run.note_unknown()
        return None

    async def _capture_or_retrieve(self, progress: Progress) -> ChargeOutcome | Refused:
        payment, run, intent_id = progress.payment, progress.run, progress.intent_id
        assert intent_id is not None
        if run.may_have_been_sent:
            found = await send(
                progress.calls, run, "capture", retrieve(self._psp, payment.charge, intent_id)
            )
            if not isinstance(found, Authorized):
                return found
        call = self._psp.capture(intent_id, payment.subject, payment.amount_minor, payment.currency)
        return await send(progress.calls, run, "capture", call)


def _institution(leg: str, progress: Progress) -> str:
    payment = progress.payment
    if leg == "void" and progress.intent_id is None:
        return institutions.LEDGER  # the PSP has never been called
    return payment.at_biller if leg in _AT_BILLER else payment.at_psp


def _to_biller(progress: Progress) -> str | None:
    if progress.payment.by_call:
        return "apply"
    progress.state, progress.applied_at = State.APPLIED, datetime.now(UTC)
    return _to_psp(progress)


def _to_psp(progress: Progress) -> str | None:
    if progress.payment.by_psp:
        return "capture"
    progress.state = State.SUCCEEDED
    return None
