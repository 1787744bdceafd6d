"""Give captured money back at the PSP: for a refund, or for a payment that was captured after we had undone it.

The PSP's list of a charge's refunds does not lag, so a refund that is not on it after its call is over was not made.
"""

from dataclasses import dataclass

from errands import ErrandRun
from services.billing.outside.external_calls import send
from services.billing.outside.model import Call
from services.billing.psp import Psp, Refunded, RefundPending, Refused, Unknown
from services.billing.subject import Subject


@dataclass(frozen=True, slots=True)
class Stuck:
    """The PSP refuses to give the money back, and no earlier call can have given it back."""

    code: str
    text: str


class GiveBack:
    """The leg `refund`."""

    def __init__(self, psp: Psp) -> None:
        self._psp = psp

    async def run(  # noqa: PLR0917
        self,
        calls: list[Call],
        run: ErrandRun,
        subject: Subject,
        intent_id: str,
        amount_minor: int,
        currency: str,
        *,
        look_first: bool = False,
    ) -> Refunded | RefundPending | Stuck | None:
        """Request the refund, or find it. None: not known yet, and the run has the time of the next run."""

        async def find() -> Refunded | RefundPending | Refused | Unknown | None:
            call = self._psp.find_refund(
                subject, intent_id, amount_minor, currency, attempt=run.attempt
            )
            return await send(calls, run, "refund", call)

        if look_first or run.may_have_been_sent or run.attempt > 1:
            refund = await find()
            if refund is not None:
                return _outcome(refund, run, certain=True)
        call = self._psp.refund(subject, intent_id, amount_minor, currency, attempt=run.attempt)
        answer = await send(calls, run, "refund", call)
        if not (isinstance(answer, Unknown) and answer.over):
            return _outcome(answer, run, certain=run.earlier_calls_are_over)
        # The PSP stores an error under this key. If the call made a refund, it is on the list by now.
        refund = await find()
        if refund is not None:
            return _outcome(refund, run, certain=True)
        run.retry_with_new_key()
        return None


def _outcome(
    answer: Refunded | RefundPending | Refused | Unknown, run: ErrandRun, *, certain: bool
) -> Refunded | RefundPending | Stuck | None:
    # `certain`: a refusal counts, because it is about the refund itself, or no earlier call can take effect any more.
    match answer:
        case Refunded():
            return answer
        case RefundPending():
            run.note_unknown()
            return answer
        case Refused(code, text) if certain:
            return Stuck(code, text)
        case Refused():
            run.continue_after(run.late_effect_seconds_left)
        case Unknown():
            run.note_unknown()
    return None
