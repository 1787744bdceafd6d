"""The invariants that the auditor proves: a number for alarms and decisions, a name in words for people.

The numbers that are not here need no statement of the auditor's. I6 and I10 (the PSP's and the billers' books agree
with ours) are reconciliation; I12 (an effect happens once) holds by natural keys; I14 and I15 come with adjustments.
"""

# Proven by the ledger, from the digests of its seals.
SEALS = "I16"

NAMES = {
    "I1": "each transfer balances",
    "I2": "all balances of a currency sum to zero",
    "I3": "no wallet is overdrawn",
    "I4": "a balance is what its transfers and holds add up to",
    "I5": "a payment's state says what its money did",
    "I7": "refunds never exceed the capture",
    "I8": "a receipt if and only if the money was taken",
    "I9": "at most one live payment per bill",
    "I11": "events are numbered without gap and published in time",
    "I13": "whatever is open has an errand or a case",
    SEALS: "what is sealed never changes",
    "promises": "what the HTTP door promised is accepted or has failed",
    "orphans": "no row points at nothing",
}
