"""External calls and their outcomes, as plain values."""

from dataclasses import dataclass
from datetime import datetime

from errands import ErrandRun


@dataclass(frozen=True, slots=True)
class Call:
    """One call to the PSP or a biller, for the payment's history."""

    leg: str
    outcome: str
    detail: str | None
    started_at: datetime
    duration_ms: int


def in_words(state: str, reason: str | None, run: ErrandRun, **psp_ids: str | None) -> str:
    """Return the result of a run in words, for a person: `succeeded, intent pi_1`."""
    parts = [f"{state} ({reason})" if reason else state]
    parts += [f"{name} {id}" for name, id in psp_ids.items() if id]
    parts += [f"{run.leg} without a response"] if run.unanswered else []
    return ", ".join(parts)
