"""Objections: why something can't begin, as its wallet is told at once. The worker decides again, and finally."""

from collections.abc import Mapping

from chassis.http.problems import NOT_FOUND, Problem, ProblemType
from services.billing.docs_pages import problem_types

# By the reason of a payment or a top-up that is rejected.
OBJECTIONS: Mapping[str, ProblemType] = {
    each.slug.replace("-", "_"): each
    for each in (
        problem_types.BILL_UNKNOWN,
        problem_types.BILL_CLOSED,
        problem_types.BILL_EXPIRED,
        problem_types.BILL_ALREADY_PAID,
        problem_types.CURRENCY_MISMATCH,
        problem_types.AMOUNT_NOT_ALLOWED,
        problem_types.ABOVE_LIMIT,
        problem_types.CHANNEL_UNKNOWN,
    )
}


def objection(reason: str) -> Problem:
    """The problem that says why a payment or a top-up can't begin, and what to do."""
    return Problem(OBJECTIONS[reason], reason=reason)


def not_found(what: str) -> Problem:
    """The problem of an id that the channel has given to nothing of this kind."""
    return Problem(NOT_FOUND, f"This channel has no {what} with that id.")
