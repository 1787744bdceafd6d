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
from services.billing.late.reports import LateReport
from services.billing.outside.external_calls import send
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

_NOT_QUERIED = "; the biller could not be queried: ask it whether the bill is marked paid there, and have that undone"


class LateLegs:
    """The external calls about late reports. One per process."""

    def __init__(self, psp: Psp, connectors: Connectors) -> None:
        self._psp = psp
        self._connectors = connectors
        self._give_back = GiveBack(psp)
        self._steps: Mapping[str, Callable[[LateProgress], Awaitable[str | None]]] = {
            "look": self._retrieve,
            "void": self._void,
            "refund": self._refund,
            "query": self._query,
            "find": self._find,
        }

    async def run(self, report: LateReport, run: ErrandRun) -> LateProgress:
        """Run the legs as far as they go now; return the progress."""
        progress = LateProgress(report, run)
        leg: str | None = run.leg
        while leg and await run.begin(
            leg, of_biller(report.ended.biller_id) if leg == "query" else PSP
        ):
            leg = await self._steps[leg](progress)
        if leg == "query":
            # The money is back, so the case does not wait for a free place at the biller.
            progress.add_to_note(_NOT_QUERIED)
        return progress

    async def _retrieve(self, progress: LateProgress) -> str | None:
        report, run = progress.report, progress.run
        intent = await send(progress.calls, run, "look", self._psp.retrieve(report.ended.intent_id))
        if isinstance(intent, Unknown):
            run.note_unknown()
            return None
        match intent.outcome_for(report.subject, report.ended.amount_minor, report.ended.currency):
            case Authorized():
                return "void"
            case Captured():
                progress.taken = True
                return "refund"
            case Unknown(why) if isinstance(intent.outcome, Authorized | Captured):
                progress.end("late_word", _mismatch(report, intent, why))
            case Unknown():
                run.note_unknown()
            case _:
                progress.end()
        return None

    async def _void(self, progress: LateProgress) -> str | None:
        report, run = progress.report, progress.run
        if run.may_have_been_sent:
            leg = await self._retrieve(progress)
            if leg != "void":
                return leg
        call = self._psp.void(report.ended.intent_id, report.subject, report.ended.currency)
        match await send(progress.calls, run, "void", call):
            case Voided():
                progress.end()
            case Refused(code, text):
                return await self._retrieve_after_refused_void(progress, code, text)
            case _:
                run.note_unknown()
        return None

    async def _retrieve_after_refused_void(
        self, progress: LateProgress, code: str, text: str
    ) -> str | None:
        # The money may have been captured meanwhile. A person has to act only if it is still held.
        leg = await self._retrieve(progress)
        if leg != "void":
            return leg
        intent_id = progress.report.ended.intent_id
        note = f"the PSP holds money under {intent_id} and refuses to void it: {code} {text}"
        progress.end(
            "late_word",
            f"{note}. The hold expires by itself: check at the PSP that it has, then close this case",
        )
        return None

    async def _refund(self, progress: LateProgress) -> str | None:
        report = progress.report
        found = await self._give_back.run(
            progress.calls,
            progress.run,
            report.subject,
            report.ended.intent_id,
            report.ended.amount_minor,
            report.ended.currency,
            look_first=True,
        )
        happened = (
            f"the PSP took the money under {report.ended.intent_id} after this {report.subject.kind.label} had ended"
            f" ({report.ended.how})"
        )
        match found:
            case Refunded(psp_refund_id):
                progress.psp_refund_id = psp_refund_id
                progress.end(
                    "late_success",
                    f"{happened}; it was given back as {psp_refund_id}. Check the refund at the PSP; close this case",
                )
            case Stuck(code, text):
                progress.taken = True
                owed = "it is owed to the payer (suspense:late-captures): pay it another way, then close this case"
                note = f"{happened}, and refuses to give it back: {code} {text}; {owed}"
                progress.end("late_success", note)
            case _:
                return None
        return "query" if report.ended.application else None

    async def _query(self, progress: LateProgress) -> str | None:
        report = progress.report
        assert report.ended.application is not None
        try:
            connector = await self._connectors.of(report.ended.biller_id)
        except UnknownBillerError:
            progress.add_to_note(_NOT_QUERIED)
            return None
        match await send(
            progress.calls, progress.run, "query", connector.query(report.ended.application)
        ):
            case Applied():
                progress.add_to_note(
                    "; the biller has marked the bill paid: ask the biller to mark it unpaid"
                )
            case NotApplied() | Unapplied():
                progress.add_to_note("; the biller has not marked the bill paid")
            case BillerUnknown():
                progress.add_to_note(_NOT_QUERIED)
        return None

    async def _find(self, progress: LateProgress) -> str | None:
        report, run = progress.report, progress.run
        call = self._psp.find_refund(
            report.subject, report.ended.intent_id, report.ended.amount_minor, report.ended.currency
        )
        match await send(progress.calls, run, "find", call):
            case Refused(code, text):
                progress.refund_failed = True
                progress.end("refund_failed_late", _failed_late(report, code, text))
            case Refunded() | RefundPending():
                progress.end()
            case None:
                note = (
                    f"it had succeeded, and the PSP has no such refund of {report.ended.intent_id}"
                )
                progress.end("late_word", f"{note}: ask the PSP where the money is")
            case Unknown():
                run.note_unknown()
        return None


def _mismatch(report: LateReport, found: Intent, why: str) -> str:
    return (
        f"the PSP holds or has money under {report.ended.intent_id} ({found.status}) after this"
        f" {report.subject.kind.label} had ended ({report.ended.how}), and it does not agree with ours: {why}. Look it"
        " up at the PSP, and give back any money that it captured"
    )


def _failed_late(report: LateReport, code: str, text: str) -> str:
    note = (
        f"the PSP's refund was reported as succeeded and failed later: {code} {text}. It is booked and owed to the"
        " payer (suspense:failed-refunds)"
    )
    if report.subject.kind != Kind.REFUND:
        return f"{note}: pay it another way"
    return f"{note}: `meterhall refunds to-wallet {report.subject.id}`, or pay it another way"
