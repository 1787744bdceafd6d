"""What the outside calls of one subject brought. Plain values."""

from dataclasses import dataclass
from datetime import datetime

from errands import Turn


@dataclass(frozen=True, slots=True)
class Call:
    """One call to somebody outside, for the history of the payment."""

    leg: str
    outcome: str
    detail: str | None
    started_at: datetime
    duration_ms: int


def in_words(state: str, reason: str | None, turn: Turn, **psp_ids: str | None) -> str:
    """What was learnt outside, for a person: `succeeded, intent pi_1`."""
    parts = [f"{state} ({reason})" if reason else state]
    parts += [f"{name} {id}" for name, id in psp_ids.items() if id]
    parts += [f"{turn.leg} without an answer"] if turn.unanswered else []
    return ", ".join(parts)
