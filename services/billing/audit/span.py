"""The names in braces of by_span.py and current.py: the rows of a span of time, or all rows.

A span is `:since` to just before `:until`, by the time at which the row's transaction began (the database's clock).
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import TextClause, text

# Enough to see the fault: a person does not read a million rows.
MOST_PER_STATEMENT = 1_000

_IN_SPAN = "{} >= CAST(:since AS timestamptz) AND {} < CAST(:until AS timestamptz)"
_WRITTEN = _IN_SPAN.format("created_at", "created_at")
_OF_SPAN = {
    name: f"(SELECT * FROM {name} WHERE {_WRITTEN})"  # noqa: S608 - our own names
    for name in ("transfers", "holds", "refunds", "top_ups", "payment_requests", "outbox")
}
_OF_SPAN |= {
    "new_payments": f"(SELECT * FROM payments WHERE {_WRITTEN})",  # noqa: S608
    # Written in the span, or refunded in it.
    "payments": f"""(SELECT * FROM payments WHERE {_WRITTEN}
        UNION ALL SELECT * FROM payments WHERE created_at < CAST(:since AS timestamptz)
            AND id IN (SELECT payment_id FROM refunds WHERE {_WRITTEN}))""",  # noqa: S608
    "receipts": f"(SELECT * FROM receipts WHERE {_IN_SPAN.format('issued_at', 'issued_at')})",  # noqa: S608
    # Receipts of the payments written in the span: a receipt is issued at the moment in which its payment finishes.
    "their_receipts": f"""(SELECT * FROM receipts
        WHERE issued_at >= (SELECT min(finished_at) FROM payments WHERE {_WRITTEN})
        AND issued_at <= (SELECT max(finished_at) FROM payments WHERE {_WRITTEN}))""",  # noqa: S608
}
_ALL = {name: name for name in _OF_SPAN} | {
    "new_payments": "payments",
    "their_receipts": "receipts",
}

Checks = Mapping[str, Sequence[TextClause]]


class Span(NamedTuple):
    """From `since` until just before `until`."""

    since: datetime
    until: datetime


BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
END = datetime(9999, 1, 1, tzinfo=UTC)
ALWAYS = Span(BEGINNING, END)


def of_a_span(invariants: Mapping[str, Sequence[str]]) -> Checks:
    """The statements of these invariants, over the rows of a span."""
    return _written(invariants, _OF_SPAN)


def of_everything(invariants: Mapping[str, Sequence[str]]) -> Checks:
    """The statements of these invariants, over all rows."""
    return _written(invariants, _ALL)


def _written(invariants: Mapping[str, Sequence[str]], names: Mapping[str, str]) -> Checks:
    return {
        id: [
            text(
                "SELECT subject, what FROM ("  # noqa: S608
                f"{statement.format(**names)}) AS violating (subject, what) LIMIT {MOST_PER_STATEMENT}"
            )
            for statement in statements
        ]
        for id, statements in invariants.items()
    }
