"""Ask outside for one payment: authorize at the PSP, apply at the biller, capture at the PSP.

No transaction is open here. Every call is bounded in time and carries a key made from the payment's id, so a payment
that is redelivered or resumed repeats the same calls. What is not answered is waited for, never taken for a refusal.
"""

import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from services.billing.bills.connectors import (
    Application,
    Applied,
    BillerRefused,
    Connectors,
    NotApplied,
    Unapplied,
)
from services.billing.payments.model import Call, Payment, Progress
from services.billing.payments.tables import State
from services.billing.psp import (
    ActionRequired,
    Authorized,
    Captured,
    Charge,
    Declined,
    Intent,
    Psp,
    Refused,
    Unknown,
    Voided,
)

AnswerT = TypeVar("AnswerT")
AuthorizeAnswer = Authorized | ActionRequired | Declined | Unknown

# The PSP may forget a key after 24 h and would then take a repeated call for a new one (Stripe's idempotent requests).
KEY_LIFETIME = timedelta(hours=23)
# How long a payer may take to confirm at the PSP's page before we take the offer back.
ACTION_WINDOW = timedelta(minutes=30)


class Legs:
    """The outside calls of payments. Made once per process, from its PSP client and its connectors."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors

    async def run(self, payment: Payment) -> Progress:
        """Take the payment as far as it goes now."""
        progress = Progress.of(payment)
        if payment.unknown_leg == "void":
            return await self._void(progress, payment.reason or "biller_refused")
        if payment.unknown_leg == "unapply":
            return await self._unapply(progress, payment.reason or "capture_refused")
        if progress.state == State.ACCEPTED and not await self._authorize(progress):
            return progress
        if progress.state == State.AUTHORIZED and not await self._apply(progress):
            return progress
        return await self._capture(progress)

    async def _authorize(self, progress: Progress) -> bool:
        payment = progress.payment
        answer = await self._ask(progress, "authorize", self._authorize_or_find(payment))
        match answer:
            case Authorized(intent_id):
                progress.intent_id = intent_id
                progress.state = State.AUTHORIZED
                progress.authorized_at = datetime.now(UTC)
                return True
            case ActionRequired(intent_id, url):
                progress.intent_id = intent_id
                if datetime.now(UTC) - payment.created_at > ACTION_WINDOW:
                    await self._void(progress, "action_abandoned")
                else:
                    progress.action_url = url
            case Declined(intent_id, code, _):
                progress.intent_id = intent_id or progress.intent_id
                progress.state, progress.reason = State.DECLINED, code[:64]
            case Unknown():
                progress.wait("authorize")
        return False

    async def _authorize_or_find(self, payment: Payment) -> AuthorizeAnswer:
        # The first time we ask. Asked before, we look first: the call may have worked, or its key hold a cached error.
        if payment.intent_id:
            return _as_authorized(await self._psp.retrieve(payment.intent_id), payment)
        if payment.attempts:
            found = await self._psp.find(payment.id)
            if found is not None:
                return _as_authorized(found, payment)
            if datetime.now(UTC) - payment.created_at > KEY_LIFETIME:
                return Declined(None, "never_authorized", "the PSP knows of no such charge")
        return await self._psp.authorize(charge_of(payment))

    async def _apply(self, progress: Progress) -> bool:
        payment = progress.payment
        if payment.bill.settled_by == "file":
            progress.state, progress.applied_at = State.APPLIED, datetime.now(UTC)
            return True
        connector = await self._connectors.of(payment.bill.biller_id)
        application = Application(
            payment.serial,
            payment.bill.account_number,
            payment.bill.bill_number,
            payment.amount_minor,
            payment.currency,
        )
        if payment.unknown_leg == "apply":
            answer = await self._ask(progress, "apply", connector.query(payment.serial))
            if isinstance(answer, NotApplied):
                answer = await self._ask(progress, "apply", connector.apply(application))
        else:
            answer = await self._ask(progress, "apply", connector.apply(application))
        match answer:
            case Applied():
                progress.state, progress.applied_at = State.APPLIED, datetime.now(UTC)
                return True
            case BillerRefused(code):
                await self._void(progress, code[:64])
            case Unapplied():
                await self._void(progress, "unapplied_by_biller")
            case _:
                progress.wait("apply")
        return False

    async def _capture(self, progress: Progress) -> Progress:
        payment = progress.payment
        if not payment.by_psp:
            progress.state = State.SUCCEEDED
            return progress
        assert progress.intent_id is not None
        if payment.unknown_leg == "capture":
            intent = await self._psp.retrieve(progress.intent_id)
            if isinstance(intent, Intent) and isinstance(_outcome(intent, payment), Captured):
                progress.state = State.SUCCEEDED
                return progress
        call = self._psp.capture(progress.intent_id, payment.id, payment.amount_minor)
        match await self._ask(progress, "capture", call):
            case Captured():
                progress.state = State.SUCCEEDED
            case Refused(code, _):
                await self._unapply(progress, code[:64])
            case Unknown():
                progress.wait("capture")
        return progress

    async def _void(self, progress: Progress, reason: str) -> Progress:
        # Let the payer's money go: the biller refused, or the payer never confirmed.
        progress.reason, progress.action_url = reason, None
        refused = State.VOIDED if reason != "action_abandoned" else State.DECLINED
        if not progress.payment.by_psp:
            progress.state = refused
            return progress
        assert progress.intent_id is not None
        call = self._psp.void(progress.intent_id, progress.payment.id)
        match await self._ask(progress, "void", call):
            case Voided():
                progress.state = refused
            case Refused(code, said):
                progress.case = f"the PSP will not void {progress.intent_id}: {code} {said}"
                progress.wait("void", reason)
            case Unknown():
                progress.wait("void", reason)
        return progress

    async def _unapply(self, progress: Progress, reason: str) -> Progress:
        # The biller has marked the bill paid and the money can't be had: take the mark back.
        payment = progress.payment
        if payment.bill.settled_by == "file":
            return await self._void(progress, reason)
        connector = await self._connectors.of(payment.bill.biller_id)
        match await self._ask(progress, "unapply", connector.unapply(payment.serial)):
            case Unapplied():
                progress.state, progress.reason = State.VOIDED, reason
            case BillerRefused(code):
                progress.case = f"applied, not captured ({reason}), and the biller keeps it: {code}"
                progress.wait("unapply", reason)
            case _:
                progress.wait("unapply", reason)
        return progress

    async def _ask(self, progress: Progress, leg: str, call: Awaitable[AnswerT]) -> AnswerT:
        return await ask(progress.calls, leg, call)


async def ask(calls: list[Call], leg: str, call: Awaitable[AnswerT]) -> AnswerT:
    """Await an outside call and note it in `calls`."""
    started_at, began = datetime.now(UTC), time.monotonic()
    answer = await call
    detail = getattr(answer, "why", None) or getattr(answer, "code", None)
    outcome = type(answer).__name__
    calls.append(Call(leg, outcome, detail, started_at, round((time.monotonic() - began) * 1000)))
    return answer


def charge_of(payment: Payment) -> Charge:
    """The payment as the PSP is told of it."""
    assert payment.payment_method is not None
    return Charge(
        payment.id,
        payment.amount_minor,
        payment.currency,
        payment.payment_method,
        {"charge_id": str(payment.id), "kind": "payment"},
    )


def _outcome(
    intent: Intent, payment: Payment
) -> Authorized | ActionRequired | Captured | Voided | Declined | Unknown:
    return intent.outcome_for(payment.id, payment.amount_minor, payment.currency)


def _as_authorized(found: Intent | Unknown, payment: Payment) -> AuthorizeAnswer:
    if isinstance(found, Unknown):
        return found
    match _outcome(found, payment):
        case Captured(intent_id):
            return Authorized(
                intent_id
            )  # captured before we died: the capture's key brings the same answer
        case Voided(intent_id):
            return Declined(intent_id, "voided_at_psp", "the authorization was released or expired")
        case outcome:
            return outcome
