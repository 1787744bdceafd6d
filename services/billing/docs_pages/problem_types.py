"""Every `type` of a problem that an API of ours answers with, across the services: /problems/<slug>."""

from typing import NamedTuple


class ProblemType(NamedTuple):
    """What a problem means, and what its caller can do."""

    status: int
    title: str
    means: str
    do: str


PROBLEM_TYPES: dict[str, ProblemType] = {
    # Any address
    "not-found": ProblemType(
        404,
        "Not found",
        "There is no such address, or no such thing for you: what belongs to another channel is not found, either.",
        "Check the id and that the key is of the channel that made it.",
    ),
    "method-not-allowed": ProblemType(
        405, "Method not allowed", "The address exists and does not take this method.", "See /docs."
    ),
    "http-error": ProblemType(
        400,
        "The request can't be served",
        "The request is not proper HTTP for this address.",
        "Read `detail`.",
    ),
    "invalid-request": ProblemType(
        422,
        "The request is not valid",
        "A field of the body, the path or the query is missing or has a value that can't be right.",
        "Correct each field that `errors` names. Repeating the request as it is will not help.",
    ),
    "body-too-large": ProblemType(
        413,
        "The request is too large",
        "The body has more bytes than any honest request.",
        "Send less.",
    ),
    "bad-cursor": ProblemType(
        422,
        "Not a cursor of ours",
        "`cursor` is not what a `next_cursor` of this list said.",
        "Start without a cursor and follow `next_cursor` unchanged.",
    ),
    "too-broad": ProblemType(
        422, "Too many at once", "The filter would take in too much.", "Narrow it as `detail` says."
    ),
    "unauthorized": ProblemType(
        401,
        "Who is calling?",
        "There is no key, or it is unknown or revoked.",
        "Send `Authorization: Bearer …` with a key that your operator issued.",
    ),
    "unavailable": ProblemType(
        503,
        "Try again shortly",
        "The database can't be reached. Nothing of the request was kept.",
        "Repeat the request with the same Idempotency-Key after `Retry-After` seconds.",
    ),
    # Repeating a request
    "idempotency-key-required": ProblemType(
        400,
        "An Idempotency-Key is required",
        "Without a key we could not tell a repeated request from a second one.",
        "Send a fresh random key with each new intent, and the same key whenever you repeat it.",
    ),
    "idempotency-key-reused": ProblemType(
        422,
        "The key stands for another request",
        "This key was used before with another address or body.",
        "Use a fresh key for a new intent; to repeat the old one, send exactly what you sent.",
    ),
    # What is offered
    "biller-unknown": ProblemType(
        404,
        "No such biller",
        "The catalogue has no active biller with this id.",
        "List the billers of the payer's city: GET /v1/billers.",
    ),
    "division-unknown": ProblemType(
        422,
        "No such division",
        "This is not the code of a province or a city (GB/T 2260, six digits).",
        "List them: GET /v1/divisions.",
    ),
    "account-number-invalid": ProblemType(
        422,
        "Not an account number of this biller",
        "The number does not have the form that this biller's numbers have. The biller was not asked.",
        "Show the payer the biller's hint and let the number be typed again.",
    ),
    # Paying a bill
    "bill-unknown": ProblemType(
        404,
        "No such bill",
        "No lookup has found a bill with this id.",
        "Look it up first: POST /v1/lookups.",
    ),
    "bill-closed": ProblemType(
        409,
        "Bill closed",
        "The biller no longer asks for this bill: it was paid elsewhere or withdrawn.",
        "Look the account up again.",
    ),
    "bill-expired": ProblemType(
        409,
        "Bill expired",
        "What the biller said about this bill is too old to be paid on.",
        "Look it up again and show the payer what it says then.",
    ),
    "bill-already-paid": ProblemType(
        409,
        "Bill already paid",
        "Another payment of this bill is under way or has succeeded. There is never more than one.",
        "Don't pay again. Follow the other payment; once it has failed, the bill can be paid.",
    ),
    "currency-mismatch": ProblemType(
        422, "Currency mismatch", "The bill is in another currency.", "Pay in the bill's currency."
    ),
    "amount-not-allowed": ProblemType(
        422,
        "Amount not allowed",
        "The biller's rule for this bill does not take this amount.",
        "Read `rule` and its bounds: GET /v1/bills/{id}.",
    ),
    "above-limit": ProblemType(
        422,
        "Above limit",
        "The amount is above what this channel may take in one payment.",
        "Pay less where the bill's rule allows it, or ask your operator to raise the limit.",
    ),
    "channel-unknown": ProblemType(
        403,
        "Channel unknown",
        "This channel may not take payments, or not any more.",
        "Ask your operator.",
    ),
    # Giving money back
    "not-refundable": ProblemType(
        409,
        "Not refundable",
        "The payment was accepted and has not succeeded yet, or it has failed, or nothing of it is left.",
        "Follow the payment: GET /v1/payments/{id}.",
    ),
    "more-than-is-left": ProblemType(
        422,
        "More than is left",
        "Earlier refunds, also those under way, have left less than this.",
        "Refund at most what `detail` says, or leave the amount out to refund all that is left.",
    ),
    # Receipts
    "receipt-number-malformed": ProblemType(
        404,
        "Not a receipt number",
        "A receipt number has 8 digits, the day of the payment, and then 16 letters and digits.",
        "Compare it with the receipt.",
    ),
    "receipt-number-mistyped": ProblemType(
        404,
        "Mistyped receipt number",
        "The check character does not fit the rest: at least one character is wrong.",
        "Compare it with the receipt, character by character.",
    ),
    "receipt-unknown": ProblemType(
        404,
        "No such receipt",
        "The number was typed correctly, and we have never issued it.",
        "Don't accept it as proof of a payment.",
    ),
    # Being told
    "bad-signature": ProblemType(
        400,
        "The signature does not hold",
        "A webhook was not signed with the secret that we share with the payment provider, or long ago.",
        "Check the secret and the clock of whoever sends it.",
    ),
    "bad-endpoint": ProblemType(
        422,
        "Webhooks can't go there",
        "The address is not one that we send to.",
        "Name a public https address.",
    ),
}
