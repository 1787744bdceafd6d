"""The table of problem types: all error responses of our APIs. Problems and their pages are derived from it.

/problems/<slug> explains each, including those of notifications. The types that every service uses are declared in
chassis/http/problems.py.
"""

from chassis.http.problems import (
    BAD_ENDPOINT,
    BODY_TOO_LARGE,
    HTTP_ERROR,
    INVALID_REQUEST,
    METHOD_NOT_ALLOWED,
    NOT_FOUND,
    TOO_BROAD,
    UNAUTHORIZED,
    UNAVAILABLE,
    ProblemType,
)

BAD_CURSOR = ProblemType(
    "bad-cursor",
    422,
    "Not a cursor of ours",
    "`cursor` is not a `next_cursor` of this list.",
    "Start without a cursor and follow `next_cursor` unchanged.",
)
# Repeating a request
IDEMPOTENCY_KEY_REQUIRED = ProblemType(
    "idempotency-key-required",
    400,
    "An Idempotency-Key is required",
    "Without a key a repeated request could not be distinguished from a second one.",
    "Send a fresh random key with each new intent, and the same key whenever you repeat it.",
)
IDEMPOTENCY_KEY_REUSED = ProblemType(
    "idempotency-key-reused",
    422,
    "The key stands for another request",
    "This key was used before with another address or body.",
    "Use a fresh key for a new intent; to repeat the old one, send exactly what you sent.",
)
# What is offered
BILLER_UNKNOWN = ProblemType(
    "biller-unknown",
    404,
    "No such biller",
    "The catalogue has no active biller with this id.",
    "List the billers of the payer's city: GET /v1/billers.",
)
DIVISION_UNKNOWN = ProblemType(
    "division-unknown",
    422,
    "No such division",
    "This is not the code of a province or a city (GB/T 2260, six digits).",
    "List them: GET /v1/divisions.",
)
ACCOUNT_NUMBER_INVALID = ProblemType(
    "account-number-invalid",
    422,
    "Not an account number of this biller",
    "The number does not have the form of this biller's account numbers. The biller was not called.",
    "Show the payer the biller's hint and let the number be typed again.",
)
# Paying a bill
BILL_UNKNOWN = ProblemType(
    "bill-unknown",
    404,
    "No such bill",
    "No lookup has found a bill with this id.",
    "Look it up first: POST /v1/lookups.",
)
BILL_CLOSED = ProblemType(
    "bill-closed",
    409,
    "Bill closed",
    "The biller no longer asks for this bill: it was paid elsewhere or withdrawn.",
    "Look the account up again.",
)
BILL_EXPIRED = ProblemType(
    "bill-expired",
    409,
    "Bill expired",
    "The biller's statement of this bill is too old to be paid.",
    "Look it up again and show the payer what it says then.",
)
BILL_ALREADY_PAID = ProblemType(
    "bill-already-paid",
    409,
    "Bill already paid",
    "Another payment of this bill is under way or has succeeded. There is never more than one.",
    "Don't pay again. Follow the other payment; once it has failed, the bill can be paid.",
)
CURRENCY_MISMATCH = ProblemType(
    "currency-mismatch",
    422,
    "Currency mismatch",
    "The bill is in another currency.",
    "Pay in the bill's currency.",
)
AMOUNT_NOT_ALLOWED = ProblemType(
    "amount-not-allowed",
    422,
    "Amount not allowed",
    "The biller's rule for this bill does not take this amount.",
    "Read `rule` and its bounds: GET /v1/bills/{id}.",
)
ABOVE_LIMIT = ProblemType(
    "above-limit",
    422,
    "Above limit",
    "The amount is above what this channel may take in one payment.",
    "Pay less where the bill's rule allows it, or ask your operator to raise the limit.",
)
CHANNEL_UNKNOWN = ProblemType(
    "channel-unknown",
    403,
    "Channel unknown",
    "This channel may not take payments, or not any more.",
    "Ask your operator.",
)
# Giving money back
NOT_REFUNDABLE = ProblemType(
    "not-refundable",
    409,
    "Not refundable",
    "The payment was accepted and has not succeeded yet, or it has failed, or nothing of it is left.",
    "Follow the payment: GET /v1/payments/{id}.",
)
MORE_THAN_IS_LEFT = ProblemType(
    "more-than-is-left",
    422,
    "More than is left",
    "Earlier refunds, also those under way, have left less than this.",
    "Refund at most what `detail` says, or leave the amount out to refund all that is left.",
)
# Receipts
RECEIPT_NUMBER_MALFORMED = ProblemType(
    "receipt-number-malformed",
    404,
    "Not a receipt number",
    "A receipt number has 8 digits, the day of the payment, and then 16 letters and digits.",
    "Compare it with the receipt.",
)
RECEIPT_NUMBER_MISTYPED = ProblemType(
    "receipt-number-mistyped",
    404,
    "Mistyped receipt number",
    "The check character does not fit the rest: at least one character is wrong.",
    "Compare it with the receipt, character by character.",
)
RECEIPT_UNKNOWN = ProblemType(
    "receipt-unknown",
    404,
    "No such receipt",
    "The number was typed correctly, and we have never issued it.",
    "Don't accept it as proof of a payment.",
)
# From the PSP
BAD_SIGNATURE = ProblemType(
    "bad-signature",
    400,
    "The signature does not hold",
    "A webhook was not signed with the secret that we share with the payment provider, or long ago.",
    "Check the secret and the clock of the sender.",
)

# In the order of the page that lists them.
PROBLEM_TYPES: dict[str, ProblemType] = {
    problem.slug: problem
    for problem in (
        NOT_FOUND,
        METHOD_NOT_ALLOWED,
        HTTP_ERROR,
        INVALID_REQUEST,
        BODY_TOO_LARGE,
        BAD_CURSOR,
        TOO_BROAD,
        UNAUTHORIZED,
        UNAVAILABLE,
        IDEMPOTENCY_KEY_REQUIRED,
        IDEMPOTENCY_KEY_REUSED,
        BILLER_UNKNOWN,
        DIVISION_UNKNOWN,
        ACCOUNT_NUMBER_INVALID,
        BILL_UNKNOWN,
        BILL_CLOSED,
        BILL_EXPIRED,
        BILL_ALREADY_PAID,
        CURRENCY_MISMATCH,
        AMOUNT_NOT_ALLOWED,
        ABOVE_LIMIT,
        CHANNEL_UNKNOWN,
        NOT_REFUNDABLE,
        MORE_THAN_IS_LEFT,
        RECEIPT_NUMBER_MALFORMED,
        RECEIPT_NUMBER_MISTYPED,
        RECEIPT_UNKNOWN,
        BAD_SIGNATURE,
        BAD_ENDPOINT,
    )
}
