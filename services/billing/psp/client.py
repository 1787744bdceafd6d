"""The PSP's client: the part of Stripe's API that moves a bill's money.

Every POST carries an Idempotency-Key derived from the subject's kind and id, the operation and the attempt, so that
the same call, repeated by any process within a day, moves money once. The subject is in the metadata, too, by which a
charge is found again. Failures of the network do not raise: they are `Unknown`. A response that does not repeat our
subject, amount and currency is `Unknown`, too.
"""

import time
from collections.abc import Callable
from datetime import datetime

from services.billing.psp.listing import listed, no_state
from services.billing.psp.outcomes import (
    ActionRequired,
    Authorized,
    BalanceTransaction,
    Captured,
    Charge,
    Declined,
    Intent,
    Refunded,
    RefundPending,
    Refused,
    Unknown,
    Voided,
)
from services.billing.psp.refunds import choose
from services.billing.psp.sweep import Sweep
from services.billing.psp.transport import Params, Request, Transport
from services.billing.psp.wire import (
    WireBalancePage,
    WireError,
    WireIntent,
    WireIntents,
    WireRefund,
    WireRefunds,
    declined,
)
from services.billing.subject import Subject

_INTENTS = "/v1/payment_intents"
# A PSP stores even its own 500 under a key for a day. An intent's state allows capture and void only once anyway, so
# their keys change at this interval, and a stored error blocks them no longer.
_STATE_KEY_SECONDS = 60


class Psp:
    """One PSP account. A payer returns to `return_url` after confirming on the PSP's page; Stripe requires it for
    methods that redirect.
    """

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout_seconds: float = 10.0,
        return_url: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._transport = Transport(url, api_key, timeout_seconds)
        self._return_url = return_url
        self._clock = clock
        self._sweep = Sweep(self._intents)

    async def aclose(self) -> None:
        """Close the connections; callers that wait for a sweep get Unknown."""
        await self._sweep.aclose()
        await self._transport.aclose()

    async def authorize(self, charge: Charge) -> Authorized | ActionRequired | Declined | Unknown:
        """Hold the payer's money; it stays held for about 7 days."""
        outcome = await self._pay("authorize", charge, "manual")
        return _contradictory(outcome) if isinstance(outcome, Captured) else outcome

    async def charge(self, charge: Charge) -> Captured | ActionRequired | Declined | Unknown:
        """Take the payer's money at once."""
        outcome = await self._pay("charge", charge, "automatic")
        return _contradictory(outcome) if isinstance(outcome, Authorized) else outcome

    async def capture(
        self, intent_id: str, subject: Subject, amount_minor: int, currency: str
    ) -> Captured | Refused | Unknown:
        """Take the held money. Captured also when the same amount was captured before."""
        path = f"{_INTENTS}/{intent_id}/capture"
        params = [("amount_to_capture", str(amount_minor))]
        response = await self._post("capture", path, params, self._state_key(subject, "capture"))
        intent = _verified_intent(response, intent_id, subject, currency)
        if isinstance(intent, Intent) and isinstance(intent.outcome, Captured):
            if intent.captured_minor == amount_minor:
                return intent.outcome
            return Unknown(f"wrong_amount: {intent.captured_minor} captured, not {amount_minor}")
        return _refused_or_contradictory(response, intent)

    async def void(
        self, intent_id: str, subject: Subject, currency: str
    ) -> Voided | Refused | Unknown:
        """Release the held money. Voided also when it was voided before or has expired."""
        path = f"{_INTENTS}/{intent_id}/cancel"
        response = await self._post("void", path, [], self._state_key(subject, "void"))
        intent = _verified_intent(response, intent_id, subject, currency)
        if isinstance(intent, Intent) and isinstance(intent.outcome, Voided):
            return intent.outcome
        return _refused_or_contradictory(response, intent)

    async def refund(
        self,
        subject: Subject,
        intent_id: str,
        amount_minor: int,
        currency: str,
        *,
        attempt: int = 1,
    ) -> Refunded | RefundPending | Refused | Unknown:
        """Give captured money back, all or a part of it. `attempt` as in Charge; it is in the metadata from 2 on."""
        params = [
            ("payment_intent", intent_id),
            ("amount", str(amount_minor)),
            ("metadata[refund_id]", str(subject.id)),
            ("metadata[kind]", subject.kind),
            *([("metadata[attempt]", str(attempt))] if attempt > 1 else []),
        ]
        key = _key(str(subject), "refund", attempt)
        request = Request("refund", "POST", "/v1/refunds", params, key)
        response = await self._transport.send(request, WireRefund)
        if isinstance(response, WireError):
            return _refused(response)
        if isinstance(response, Unknown):
            return response
        if not response.is_of(subject) or response.payment_intent != intent_id:
            return Unknown(f"not_ours: {response.id} does not name our refund")
        return response.difference(amount_minor, currency) or response.outcome()

    async def find(
        self, charge: Charge, since: datetime, until: datetime
    ) -> Intent | Unknown | None:
        """Return the charge among the intents created from `since` to `until`. The list does not lag, so None proves
        that there is none. Concurrent calls share one sweep of the list.
        """
        found = await self._sweep.find(charge.subject, since, until)
        if isinstance(found, Unknown):
            return found
        live = [intent for intent in found if not isinstance(intent.outcome, Declined | Voided)]
        if len(live) > 1:
            return Unknown(f"doubled: {', '.join(intent.id for intent in live)} are one charge")
        return next(iter(live or found), None)

    async def retrieve(self, intent_id: str) -> Intent | Unknown:
        """Return the charge in its present state at the PSP."""
        request = Request("retrieve", "GET", f"{_INTENTS}/{intent_id}")
        response = await self._transport.send(request, WireIntent)
        if isinstance(response, WireError):
            return no_state(response)
        if isinstance(response, Unknown):
            return response
        if response.id != intent_id:
            return Unknown(f"not_ours: requested {intent_id}, got {response.id}")
        return response.intent()

    async def find_refund(
        self,
        subject: Subject,
        intent_id: str,
        amount_minor: int | None = None,
        currency: str | None = None,
        *,
        attempt: int | None = None,
    ) -> Refunded | RefundPending | Refused | Unknown | None:
        """Return this subject's refund among the charge's refunds, of this amount and currency (see refunds.choose).
        The list does not lag: None proves that there is none, or that those of earlier attempts have failed.
        """
        params = [("payment_intent", intent_id)]
        refunds = await listed(
            self._transport, "find_refund", "/v1/refunds", params, shape=WireRefunds
        )
        if isinstance(refunds, Unknown):
            return refunds
        found = choose([refund for refund in refunds if refund.is_of(subject)], intent_id, attempt)
        if found is None or isinstance(found, Unknown):
            return found
        return found.difference(amount_minor, currency) or found.outcome()

    async def balance_transactions(
        self, since: datetime, until: datetime
    ) -> list[BalanceTransaction] | Unknown:
        """Return the PSP's balance transactions, newest first, from `since` until just before `until` (whole
        seconds).
        """
        if since.tzinfo is None or until.tzinfo is None:
            raise ValueError("the bounds need a time zone")
        params = [
            ("created[gte]", str(int(since.timestamp()))),
            ("created[lt]", str(int(until.timestamp()))),
            ("expand[]", "data.source"),
        ]
        path = "/v1/balance_transactions"
        lines = await listed(
            self._transport, "balance_transactions", path, params, shape=WireBalancePage
        )
        return lines if isinstance(lines, Unknown) else [line.line() for line in lines]

    async def _pay(
        self, operation: str, charge: Charge, capture_method: str
    ) -> Authorized | Captured | ActionRequired | Declined | Unknown:
        subject = charge.subject
        params = [
            ("amount", str(charge.amount_minor)),
            ("currency", charge.currency.lower()),
            ("payment_method", charge.payment_method),
            ("capture_method", capture_method),
            ("confirm", "true"),
            ("metadata[charge_id]", str(subject.id)),
            ("metadata[kind]", subject.kind),
        ]
        if self._return_url:
            params.append(("return_url", self._return_url))
        # Only a first attempt can have used the former key.
        former = charge.former_key and charge.attempt == 1
        key = _key(str(subject.id if former else subject), operation, charge.attempt)
        response = await self._post(operation, _INTENTS, params, key)
        if isinstance(response, WireError):
            return _declined_or_unknown(response, charge)
        if isinstance(response, Unknown):
            return response
        outcome = response.intent().outcome_for(subject, charge.amount_minor, charge.currency)
        if isinstance(outcome, Voided):
            return Declined(response.id, "canceled", "The payment was cancelled at the PSP.")
        return outcome

    async def _post(
        self, operation: str, path: str, params: Params, key: str
    ) -> WireIntent | WireError | Unknown:
        return await self._transport.send(Request(operation, "POST", path, params, key), WireIntent)

    async def _intents(
        self, params: Params, wanted: Callable[[WireIntent], bool]
    ) -> list[WireIntent] | Unknown:
        return await listed(
            self._transport, "find", _INTENTS, params, shape=WireIntents, wanted=wanted
        )

    def _state_key(self, subject: Subject, operation: str) -> str:
        return f"{subject}:{operation}:{int(self._clock()) // _STATE_KEY_SECONDS}"


def _key(named: str, operation: str, attempt: int) -> str:
    return f"{named}:{operation}" if attempt == 1 else f"{named}:{operation}:{attempt}"


def _declined_or_unknown(error: WireError, charge: Charge) -> Declined | Unknown:
    """Return Declined for a 400 or 402: nothing was taken, and the same request would be refused again."""
    if error.payment_intent is None:
        return declined(None, error)
    intent = error.payment_intent.intent()
    outcome = intent.outcome_for(charge.subject, charge.amount_minor, charge.currency)
    if isinstance(outcome, Unknown):
        return outcome
    if not isinstance(outcome, Declined | Voided):
        return _contradictory(intent)
    return declined(intent.id, error)


def _verified_intent(
    response: WireIntent | WireError | Unknown, intent_id: str, subject: Subject, currency: str
) -> Intent | Unknown | None:
    """Return the intent in a response; a rejection may contain it, too, with the state that caused the rejection."""
    if isinstance(response, Unknown):
        return response
    wire = response.payment_intent if isinstance(response, WireError) else response
    if wire is None:
        return None
    intent = wire.intent()
    if intent.id != intent_id or intent.subject != subject:
        return Unknown(f"not_ours: {intent.id} is not the intent of our charge")
    if intent.currency != currency:
        return Unknown(f"wrong_currency: {intent.id} is in {intent.currency}, not {currency}")
    return intent


def _refused_or_contradictory(
    response: WireIntent | WireError | Unknown, intent: Intent | Unknown | None
) -> Refused | Unknown:
    if isinstance(intent, Unknown):
        return intent
    if isinstance(intent, Intent) and isinstance(intent.outcome, Unknown):
        return intent.outcome
    if isinstance(response, WireError):
        return _refused(response)
    assert isinstance(intent, Intent)
    return _contradictory(intent)


def _refused(error: WireError) -> Refused:
    return Refused(error.code or error.type, error.message or "The PSP refused.")


def _contradictory(intent: Intent | Authorized | Captured) -> Unknown:
    state = intent.status if isinstance(intent, Intent) else type(intent).__name__.lower()
    return Unknown(f"odd: the PSP reports {state}, which this call cannot lead to")
