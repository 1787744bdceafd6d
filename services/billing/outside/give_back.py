"""Give captured money back at the PSP: for a refund, or for a payment that was captured after we gave it up.

The PSP's list of a charge's refunds does not lag, so a refund that is not on it after its call is over was not made.
"""

from dataclasses import dataclass

from errands import Turn
from services.billing.outside.ask import ask
from services.billing.outside.model import Call
from services.billing.psp import Psp, Refunded, RefundPending, Refused, Unknown
from services.billing.subject import Subject


@dataclass(frozen=True, slots=True)
class Stuck:
    """The PSP refuses to give the money back, and no earlier call can have done it."""

    code: str
    text: str


class GiveBack:
    """The leg `refund`."""

    def __init__(self, psp: Psp) -> None:
        self._psp = psp

    async def run(  # noqa: PLR0917
        self,
        calls: list[Call],
        turn: Turn,
        subject: Subject,
        intent_id: str,
        amount_minor: int,
        currency: str,
        *,
        look_first: bool = False,
    ) -> Refunded | RefundPending | Stuck | None:
        """Request the refund, or find it. None: not known yet, and the turn has the time of the next run."""

        async def find() -> Refunded | RefundPending | Refused | Unknown | None:
            call = self._psp.find_refund(
                subject, intent_id, amount_minor, currency, attempt=turn.attempt
            )
            return await ask(calls, turn, "refund", call)

        if look_first or turn.maybe_sent or turn.attempt > 1:
            found = await find()
            if found is not None:
                return _outcome(found, turn, certain=True)
        call = self._psp.refund(subject, intent_id, amount_minor, currency, attempt=turn.attempt)
        answer = await ask(calls, turn, "refund", call)
        if not (isinstance(answer, Unknown) and answer.over):
            return _outcome(answer, turn, certain=turn.quiet)
        # The PSP stores an error under this key. If the call made a refund, it is on the list by now.
        found = await find()
        if found is not None:
            return _outcome(found, turn, certain=True)
        turn.try_anew()
        return None


def _outcome(
    answer: Refunded | RefundPending | Refused | Unknown, turn: Turn, *, certain: bool
) -> Refunded | RefundPending | Stuck | None:
    # `certain`: a refusal counts, because it is about the refund itself, or no earlier call can take effect any more.
    match answer:
        case Refunded():
            return answer
        case RefundPending():
            turn.unknown()
            return answer
        case Refused(code, text) if certain:
            return Stuck(code, text)
        case Refused():
            turn.wait(turn.quiet_in_seconds)
        case Unknown():
            turn.unknown()
    return None
