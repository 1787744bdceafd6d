"""Objections: reasons against a payment or top-up, as problems for the wallet. The worker's later decision is final."""

from collections.abc import Mapping

from chassis.http.problems import NOT_FOUND, Problem, ProblemType
from services.billing.docs_pages import problem_types

# By the reason for which the worker would reject a payment or a top-up.
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
    """Return the problem for this reason against a payment or a top-up."""
    return Problem(OBJECTIONS[reason], reason=reason)


def not_found(noun: str) -> Problem:
    """Return the problem for an id that is unknown in this channel; `noun` is used in the message."""
    return Problem(NOT_FOUND, f"This channel has no {noun} with that id.")
