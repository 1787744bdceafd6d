"""Undo a payment that cannot be finished: the biller's mark first, then the hold on the payer's money.

Each step may be repeated. A step that is refused although it must not be is examined with queries; what remains
unclear is a case for finance ops, while the payment stays open and the calls go on.
"""

from collections.abc import Awaitable, Callable, Mapping

from services.billing.bills.connectors import (
    Applied,
    BillerRefused,
    Connectors,
    NotApplied,
    Unapplied,
)
from services.billing.outside.external_calls import (
    ChargeOutcome,
    NotYet,
    retrieve,
    send,
    take_mark_back,
)
from services.billing.outside.give_back import GiveBack, Stuck
from services.billing.payments.model import Progress
from services.billing.payments.tables import State
from services.billing.psp import Captured, Psp, Refunded, Refused, Voided


class Undo:
    """The external calls that undo a payment."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors
        self._give_back = GiveBack(psp)
        self.steps: Mapping[str, Callable[[Progress], Awaitable[str | None]]] = {
            "unapply": self._unapply,
            "void": self._void,
            "recheck": self._recheck,
            "refund": self._refund,
        }

    async def _unapply(self, progress: Progress) -> str | None:
        # Take back the biller's mark, then release the payer's money.
        payment, run = progress.payment, progress.run
        progress.action_url = None
        if not payment.by_call:
            return "void"
        connector = await self._connectors.of(payment.bill.biller_id)
        match await take_mark_back(progress.calls, run, connector, payment.application):
            case Unapplied():
                run.note_answered()
                return "void"
            case NotYet():
                run.continue_after(run.late_effect_seconds_left)
            case BillerRefused(code):
                progress.case = (
                    f"the payment failed ({progress.reason}), and the biller refuses to mark its bill unpaid: {code}."
                    " Ask the biller to accept the unapply; it is repeated until then, and the payer's money stays held"
                )
                run.note_unknown()
            case _:
                run.note_unknown()
        return None

    async def _void(self, progress: Progress) -> str | None:
        # Release the payer's money: the biller refused, or the payer never confirmed.
        progress.action_url = None
        if not progress.payment.by_psp or progress.intent_id is None:
            _end_without_money(progress)
            return None
        match await self._try_to_void(progress, progress.intent_id):
            case Voided():
                _end_without_money(progress)
            case Captured() if progress.payment.by_call:
                return "recheck"
            case Captured():
                progress.state, progress.reason = State.SUCCEEDED, None
            case Refused(code, text):
                progress.case = (
                    f"the PSP refuses to void {progress.intent_id}: {code} {text}. Ask the PSP to release the hold; the"
                    " void is repeated until then"
                )
                progress.run.note_unknown()
            case _:
                progress.run.note_unknown()
        return None

    async def _try_to_void(self, progress: Progress, intent_id: str) -> ChargeOutcome | Refused:
        payment, calls, run = progress.payment, progress.calls, progress.run
        if run.may_have_been_sent:
            found = await send(calls, run, "void", retrieve(self._psp, payment.charge, intent_id))
            if isinstance(found, Voided | Captured):
                return found
        call = self._psp.void(intent_id, payment.subject, payment.currency)
        answer = await send(calls, run, "void", call)
        if not isinstance(answer, Refused):
            return answer
        # Another process may have ended the payment differently meanwhile, so the PSP's record decides.
        found = await send(calls, run, "void", retrieve(self._psp, payment.charge, intent_id))
        return found if isinstance(found, Voided | Captured) else answer

    async def _recheck(self, progress: Progress) -> str | None:
        # The PSP captured the money before our void. A marked bill means success; if not, the money goes back.
        payment, run = progress.payment, progress.run
        connector = await self._connectors.of(payment.bill.biller_id)
        match await send(progress.calls, run, "apply", connector.query(payment.application)):
            case Applied():
                progress.state, progress.reason = State.SUCCEEDED, None
            case NotApplied() | Unapplied():
                return "refund"
            case _:
                run.note_unknown()
        return None

    async def _refund(self, progress: Progress) -> str | None:
        payment, run = progress.payment, progress.run
        assert progress.intent_id is not None
        match await self._give_back.run(
            progress.calls,
            run,
            payment.subject,
            progress.intent_id,
            payment.amount_minor,
            payment.currency,
        ):
            case Refunded(psp_refund_id):
                progress.given_back = True
                progress.case = (
                    f"the PSP captured the money of this failed payment and gave it back as {psp_refund_id}. Check that"
                    " refund at the PSP, then close this case"
                )
                progress.state = State.VOIDED
            case Stuck(code, text):
                # The PSP would refuse again, so the calls stop and a person pays the payer another way.
                progress.kept_by_psp = True
                progress.case = (
                    f"the PSP captured the money of this failed payment and refuses to give it back: {code} {text}."
                    " It is owed to the payer (suspense:late-captures): pay it another way, then close this case"
                )
                progress.state = State.VOIDED
        return None


def _end_without_money(progress: Progress) -> None:
    # A payer who never confirmed has declined; every other payment here was refused by the biller.
    unconfirmed = progress.reason in {"action_abandoned", "no_action_page"}
    declined = progress.state == State.ACCEPTED and unconfirmed
    progress.reason = progress.reason or "undone"
    progress.state = State.DECLINED if declined else State.VOIDED
