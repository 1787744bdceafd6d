"""Calls to the PSP and to billers, and what their responses prove. No transaction is open here.

Every call carries a key derived from our own id, so repeating it changes nothing. A call without a response is repeated
and never taken for a refusal. A refusal after such a call proves nothing either, until a query confirms it after the
longest time in which the earlier call may still take effect.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from errands import ErrandRun
from events import bounds
from services.billing.bills.connectors import (
    Application,
    Applied,
    BillerRefused,
    BillerUnknown,
    Connector,
    NotApplied,
    Unapplied,
)
from services.billing.outside.model import Call
from services.billing.outside.tables import LONGEST_DETAIL
from services.billing.psp import (
    ActionRequired,
    Authorized,
    Captured,
    Charge,
    Declined,
    Intent,
    Psp,
    Unknown,
    Voided,
)

AnswerT = TypeVar("AnswerT")
ChargeOutcome = Authorized | ActionRequired | Captured | Voided | Declined | Unknown

# The PSP may forget a key after 24 h and would then take a repeated call for a new one (Stripe's idempotent requests).
KEY_LIFETIME = timedelta(hours=23)
# A charge that the PSP never made is requested again with a new key, for as long as a payer may wait for it.
CHARGE_WINDOW = timedelta(minutes=10)
# A charge is requested within the lifetime of its keys, and may take effect a little later.
LONGEST_SPAN = timedelta(hours=24)
# How long a payer may take to confirm at the PSP's page before the payment is undone.
ACTION_WINDOW = timedelta(minutes=30)
# How `Unknown.why` begins when the network failed on the way to the PSP; every other unknown was a response.
_NO_RESPONSE = ("no_answer", "connection", "status")


@dataclass(frozen=True, slots=True)
class NotYet:
    """An earlier call without a response may still take effect, so the response of this one proves nothing yet."""


@dataclass(frozen=True, slots=True)
class NeverCharged:
    """The call is over and the PSP has no such charge: it may be requested with a new key."""


async def send(calls: list[Call], run: ErrandRun, leg: str, call: Awaitable[AnswerT]) -> AnswerT:
    """Await an external call, append it to `calls`, and report to the institution's breaker whether it was answered."""
    started_at, began = datetime.now(UTC), time.monotonic()
    response = await call
    outcome = "NotFound" if response is None else type(response).__name__
    details = (getattr(response, name, None) for name in ("why", "code", "status"))
    detail = next((bounds.storable(each, LONGEST_DETAIL) for each in details if each), None)
    calls.append(Call(leg, outcome, detail, started_at, round((time.monotonic() - began) * 1000)))
    run.report(answered=not _is_unanswered(response))
    return response


async def charge_or_find(  # noqa: PLR0917
    psp: Psp,
    charge: Charge,
    call: Callable[[Charge], Awaitable[ChargeOutcome]],
    intent_id: str | None,
    run: ErrandRun,
    created_at: datetime,
) -> ChargeOutcome | NeverCharged:
    """Return the outcome that the PSP has for the charge, or request the charge with the same key as before."""
    if intent_id:
        return await retrieve(psp, charge, intent_id)
    now = run.errand.claimed_at
    if now - created_at <= KEY_LIFETIME:
        outcome = await call(charge)
        if isinstance(outcome, Authorized | Captured | ActionRequired) and run.may_have_been_sent:
            # This may be the first response, replayed by the PSP; the intent has the present state.
            return await retrieve(psp, charge, outcome.intent_id)
        if not (isinstance(outcome, Unknown) and outcome.over):
            return outcome
    elif not run.earlier_calls_are_over:
        return Unknown("not_yet: the key has expired, and the last call may still take effect")
    # The PSP stores an error under the key, or has forgotten the key. Its list shows what was charged.
    try:
        async with asyncio.timeout(run.seconds_left):
            return await _find(psp, charge, created_at, now)
    except TimeoutError:
        return Unknown("no_answer: the list of charges was not read in time")


async def _find(
    psp: Psp, charge: Charge, created_at: datetime, now: datetime
) -> ChargeOutcome | NeverCharged:
    found = await psp.find(charge, created_at, min(now, created_at + LONGEST_SPAN))
    if found is not None:
        return _verified_outcome(found, charge)
    if now - created_at > CHARGE_WINDOW:
        return Declined(None, "never_charged", "the PSP has no such charge")
    return NeverCharged()


async def retrieve(psp: Psp, charge: Charge, intent_id: str) -> ChargeOutcome:
    """Return the outcome of this intent. Unknown when the intent is not our charge's."""
    return _verified_outcome(await psp.retrieve(intent_id), charge)


async def take_mark_back(
    calls: list[Call], run: ErrandRun, connector: Connector, application: Application
) -> Unapplied | BillerRefused | BillerUnknown | NotYet:
    """Have the biller mark the bill unpaid.

    This also blocks a late apply, so it is done even when no apply is known.
    """
    answer = await send(calls, run, "unapply", connector.unapply(application))
    if not isinstance(answer, BillerRefused):
        return answer
    # A biller may refuse because it has no mark to take back; only its response to a query of the serial counts.
    found = await send(calls, run, "unapply", connector.query(application))
    match found:
        case Unapplied() | BillerUnknown():
            return found
        case NotApplied() | Applied() if not run.earlier_calls_are_over:
            # An earlier apply or unapply may still take effect.
            return NotYet()
        case NotApplied():
            return Unapplied()
        case Applied():
            return answer


def _verified_outcome(found: Intent | Unknown, charge: Charge) -> ChargeOutcome:
    if isinstance(found, Unknown):
        return found
    return found.outcome_for(charge.subject, charge.amount_minor, charge.currency)


def _is_unanswered(answer: object) -> bool:
    if isinstance(answer, Unknown):
        return answer.why.startswith(_NO_RESPONSE)
    return isinstance(answer, BillerUnknown)
