"""The external calls about a late report: retrieve the intent, then void it or give the money back; or find the refund
that is reported to have failed.

Money that is only held is released without a case. Money that was taken goes back, with a case; its note says whether
the biller has marked the bill.
"""

from collections.abc import Awaitable, Callable, Mapping

from errands import ErrandRun
from services.billing.bills.connectors import (
    Applied,
    BillerUnknown,
    Connectors,
    NotApplied,
    Unapplied,
    UnknownBillerError,
)
from services.billing.institutions import PSP, of_biller
from services.billing.late.model import LateProgress
from services.billing.late.note import LateReport
from services.billing.outside.ask import ask
from services.billing.outside.give_back import GiveBack, Stuck
from services.billing.psp import (
    Authorized,
    Captured,
    Intent,
    Psp,
    Refunded,
    RefundPending,
    Refused,
    Unknown,
    Voided,
)
from services.billing.subject import Kind

_NOT_ASKED = "; the biller could not be queried: ask it whether it has marked the bill"


class LateLegs:
    """The external calls about late reports. One per process."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors
        self._give_back = GiveBack(psp)
        self._steps: Mapping[str, Callable[[LateProgress], Awaitable[str | None]]] = {
            "look": self._look,
            "void": self._void,
            "refund": self._refund,
            "query": self._query,
            "find": self._find,
        }

    async def run(self, word: LateReport, run: ErrandRun) -> LateProgress:
        """Run the legs as far as they go now; return the progress."""
        progress = LateProgress(word, run)
        leg: str | None = run.leg
        while leg and await run.begin(
            leg, of_biller(word.ended.biller_id) if leg == "query" else PSP
        ):
            leg = await self._steps[leg](progress)
        if leg == "query":
            # The money is back. That the biller has no free place is no reason to wait.
            progress.add(_NOT_ASKED)
        return progress

    async def _look(self, progress: LateProgress) -> str | None:
        word, run = progress.word, progress.run
        found = await ask(progress.calls, run, "look", self._psp.retrieve(word.ended.intent_id))
        if isinstance(found, Unknown):
            run.note_unknown()
            return None
        match found.outcome_for(word.subject, word.ended.amount_minor, word.ended.currency):
            case Authorized():
                return "void"
            case Captured():
                progress.taken = True
                return "refund"
            case Unknown(why) if isinstance(found.outcome, Authorized | Captured):
                progress.end("late_word", _mismatch(word, found, why))
            case Unknown():
                run.note_unknown()
            case _:
                progress.end()
        return None

    async def _void(self, progress: LateProgress) -> str | None:
        word, run = progress.word, progress.run
        if run.may_have_been_sent:
            leg = await self._look(progress)
            if leg != "void":
                return leg
        call = self._psp.void(word.ended.intent_id, word.subject, word.ended.currency)
        match await ask(progress.calls, run, "void", call):
            case Voided():
                progress.end()
            case Refused(code, text):
                return await self._after_refused_void(progress, code, text)
            case _:
                run.note_unknown()
        return None

    async def _after_refused_void(self, progress: LateProgress, code: str, text: str) -> str | None:
        # The money may have been captured meanwhile; only if it is still held a person has to look.
        leg = await self._look(progress)
        if leg != "void":
            return leg
        intent_id = progress.word.ended.intent_id
        note = f"the PSP holds money under {intent_id} and refuses to void it: {code} {text}"
        progress.end(
            "late_word", f"{note}. The hold expires by itself: check at the PSP that it does"
        )
        return None

    async def _refund(self, progress: LateProgress) -> str | None:
        word = progress.word
        found = await self._give_back.run(
            progress.calls,
            progress.run,
            word.subject,
            word.ended.intent_id,
            word.ended.amount_minor,
            word.ended.currency,
            look_first=True,
        )
        happened = (
            f"the PSP took the money under {word.ended.intent_id} after this {word.subject.kind.label} had ended"
            f" ({word.ended.how})"
        )
        match found:
            case Refunded(psp_refund_id):
                progress.psp_refund_id = psp_refund_id
                progress.end("late_success", f"{happened}; given back as {psp_refund_id}")
            case Stuck(code, text):
                progress.taken = True
                owed = "it is owed to the payer (suspense:late-captures): pay it another way"
                note = f"{happened}, and refuses to give it back: {code} {text}; {owed}"
                progress.end("late_success", note)
            case _:
                return None
        return "query" if word.ended.application else None

    async def _query(self, progress: LateProgress) -> str | None:
        word = progress.word
        assert word.ended.application is not None
        try:
            connector = await self._connectors.of(word.ended.biller_id)
        except UnknownBillerError:
            progress.add(_NOT_ASKED)
            return None
        match await ask(
            progress.calls, progress.run, "query", connector.query(word.ended.application)
        ):
            case Applied():
                progress.add("; the biller has marked the bill paid: have it take the mark back")
            case NotApplied() | Unapplied():
                progress.add("; the biller has no mark for it")
            case BillerUnknown():
                progress.add(_NOT_ASKED)
        return None

    async def _find(self, progress: LateProgress) -> str | None:
        word, run = progress.word, progress.run
        call = self._psp.find_refund(
            word.subject, word.ended.intent_id, word.ended.amount_minor, word.ended.currency
        )
        match await ask(progress.calls, run, "find", call):
            case Refused(code, text):
                progress.came_back = True
                progress.end("refund_failed_late", _failed_late(word, code, text))
            case Refunded() | RefundPending():
                progress.end()
            case None:
                note = f"it had succeeded, and the PSP has no such refund of {word.ended.intent_id}"
                progress.end("late_word", f"{note}: ask the PSP what it did with the money")
            case Unknown():
                run.note_unknown()
        return None


def _mismatch(word: LateReport, found: Intent, why: str) -> str:
    return (
        f"the PSP holds or has money under {word.ended.intent_id} ({found.status}) after this"
        f" {word.subject.kind.label} had ended ({word.ended.how}), and it does not agree with ours: {why}. See it at"
        " the PSP, and give back what it took"
    )


def _failed_late(word: LateReport, code: str, text: str) -> str:
    note = (
        f"the PSP gave the money back, and that failed later: {code} {text}. It is booked and owed to the payer"
        " (suspense:failed-refunds)"
    )
    if word.subject.kind != Kind.REFUND:
        return f"{note}: pay it another way"
    return f"{note}: `meterhall refunds to-wallet {word.subject.id}`, or pay it another way"
