"""Objections: why something can't begin, as its wallet is told at once. The worker decides again, and finally."""

from chassis.problems import Problem

ADVICE = {
    "bill_unknown": (404, "Look the bill up first: POST /v1/lookups."),
    "bill_closed": (409, "The biller no longer asks for this bill. Look the account up again."),
    "bill_expired": (
        409,
        "The bill's snapshot has expired. Look it up again and pay what it says then.",
    ),
    "bill_already_paid": (409, "Another payment of this bill is under way or has succeeded."),
    "currency_mismatch": (422, "Pay in the bill's currency."),
    "amount_not_allowed": (
        422,
        "Pay the amount that the bill and its rule allow: GET /v1/bills/{id}.",
    ),
    "above_limit": (422, "The amount is above this channel's limit for one payment."),
    "channel_unknown": (403, "This channel may not take payments."),
}


def objection(reason: str) -> Problem:
    """The problem that says why a payment or a top-up can't begin, and what to do."""
    status, advice = ADVICE[reason]
    title = reason.replace("_", " ").capitalize()
    return Problem(status, reason.replace("_", "-"), title, advice, reason=reason)


def not_found(what: str) -> Problem:
    """The problem of an id that the channel has given to nothing of this kind."""
    return Problem(404, "not-found", f"No such {what}", f"This channel has no {what} with that id.")
