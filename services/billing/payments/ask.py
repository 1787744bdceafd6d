"""Ask somebody outside, and believe only what can be believed. No transaction is open here.

Every call carries a key made from our own id, so a call that is repeated by anyone does nothing twice. What is not
answered is asked again, never taken for a refusal.
"""

import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from events import bounds
from services.billing.bills.connectors import (
    Application,
    BillerRefused,
    BillerUnknown,
    Connector,
    NotApplied,
    Unapplied,
)
from services.billing.payments.model import Call
from services.billing.payments.tables import LONGEST_DETAIL
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
# An hour after the last call that could have made the charge, nothing is under way any more: a list of what the PSP
# made until then that does not name it proves that there is none.
ABSENCE_PROVEN_AFTER = KEY_LIFETIME + timedelta(hours=1)
# How long a payer may take to confirm at the PSP's page before we take the offer back.
ACTION_WINDOW = timedelta(minutes=30)


async def ask(calls: list[Call], leg: str, call: Awaitable[AnswerT]) -> AnswerT:
    """Await an outside call and note it in `calls`."""
    started_at, began = datetime.now(UTC), time.monotonic()
    answer = await call
    outcome = "NotFound" if answer is None else type(answer).__name__
    details = (getattr(answer, name, None) for name in ("why", "code", "status"))
    detail = next((bounds.storable(each, LONGEST_DETAIL) for each in details if each), None)
    calls.append(Call(leg, outcome, detail, started_at, round((time.monotonic() - began) * 1000)))
    return answer


async def seek(
    psp: Psp, charge: Charge, intent_id: str | None, attempts: int, created_at: datetime
) -> ChargeOutcome | None:
    """What became of the charge, as the PSP keeps it; None when it has to be asked for, with the same key as ever."""
    if intent_id:
        return await look(psp, charge, intent_id)
    age = datetime.now(UTC) - created_at
    if not attempts or age <= KEY_LIFETIME:
        return None
    found = await psp.find(charge, created_at, created_at + ABSENCE_PROVEN_AFTER)
    if found is not None:
        return _believed(found, charge)
    if age > ABSENCE_PROVEN_AFTER:
        return Declined(None, "never_charged", "the PSP knows of no such charge")
    return Unknown("not_found: the key is too old to ask again, and the last call may be under way")


async def afresh(
    psp: Psp, charge: Charge, answer: ChargeOutcome, created_at: datetime
) -> ChargeOutcome:
    """What a repeated call came to. Its answer may be the first one, which the PSP kept: money that is held or taken is
    looked at as it is now, and behind an error that is only repeated we look for what the call did."""
    match answer:
        case Authorized(intent_id) | Captured(intent_id) | ActionRequired(intent_id):
            return await look(psp, charge, intent_id)
        case Unknown(over=True):
            found = await psp.find(charge, created_at, datetime.now(UTC))
            return answer if found is None else _believed(found, charge)
    return answer


async def look(psp: Psp, charge: Charge, intent_id: str) -> ChargeOutcome:
    """What became of this intent, which must be our charge's."""
    return _believed(await psp.retrieve(intent_id), charge)


async def take_mark_back(
    calls: list[Call], connector: Connector, application: Application
) -> Unapplied | BillerRefused | BillerUnknown:
    """Have the biller mark the bill unpaid. It also blocks a late apply, so it is asked for even when none is known."""
    answer = await ask(calls, "unapply", connector.unapply(application))
    if not isinstance(answer, BillerRefused):
        return answer
    # A biller may refuse because there is nothing to take back (any more); only what it says of the serial counts.
    said = await ask(calls, "unapply", connector.query(application))
    if isinstance(said, Unapplied | NotApplied):
        return Unapplied()
    return said if isinstance(said, BillerUnknown) else answer


def _believed(found: Intent | Unknown, charge: Charge) -> ChargeOutcome:
    if isinstance(found, Unknown):
        return found
    return found.outcome_for(charge.subject, charge.amount_minor, charge.currency)
