"""The progress of a late report, and the transfers that follow from it."""

from dataclasses import dataclass, field
from datetime import datetime

from errands import ErrandRun
from services.billing import ledger
from services.billing.late.reports import LateReport
from services.billing.outside.cases import NewCase
from services.billing.outside.model import Call, in_words
from services.billing.subject import Kind, Subject


@dataclass(slots=True)
class LateProgress:
    """The progress. `taken`: the PSP has the payer's money. `refund_failed`: the PSP's refund has failed.

    `over`: no call is left.
    """

    report: LateReport
    run: ErrandRun
    taken: bool = False
    psp_refund_id: str | None = None
    refund_failed: bool = False
    over: bool = False
    case: NewCase | None = None
    calls: list[Call] = field(default_factory=list)

    @property
    def subject(self) -> Subject:
        """The payment, refund or top-up, as external calls and cases refer to it."""
        return self.report.subject

    def summary(self) -> str:
        """See cases.Result."""
        state = "taken" if self.taken else "failed" if self.refund_failed else "ended"
        ids = {"intent": self.report.ended.intent_id, "refund": self.psp_refund_id}
        return in_words(state, None, self.run, **ids)

    def end(self, kind: str = "", note: str = "") -> None:
        """Finish; with a kind and a note, open a case."""
        self.over = True
        self.case = NewCase(self.subject, kind, note) if kind else None

    def add_to_note(self, text: str) -> None:
        """Append to the note of the case."""
        assert self.case is not None
        self.case = self.case._replace(note=self.case.note + text)

    def transfers(self, now: datetime) -> list[ledger.Transfer]:
        """Return the transfers that are certain, whether they are booked already or not."""
        report, certain = self.report, list[ledger.Transfer]()
        given_back = report.ended.transfer_id
        if report.subject.kind != Kind.REFUND:
            capture, back = ledger.late_capture_and_return(
                report.subject,
                report.ended.transfer_id,
                report.ended.amount_minor,
                report.ended.currency,
                now,
            )
            given_back = back.id
            certain += [capture] if self.taken or self.psp_refund_id else []
            certain += [back] if self.psp_refund_id else []
        if self.refund_failed:
            id = ledger.refund_returned_id(report.subject)
            certain.append(
                ledger.refund_returned(
                    id, given_back, report.ended.currency, report.ended.amount_minor, now
                )
            )
        return certain
