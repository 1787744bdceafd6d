"""The invariants that the auditor proves: a name for alarms, commands and documents, and its meaning in a sentence.

That the PSP's and the billers' books agree with ours is not here: reconciliation compares them.
"""

# Proven by the ledger, from the digests of its seals.
SEALS = "sealed_transfers_unchanged"

MEANINGS = {
    "transfers_balance": "each transfer has one amount and one currency on both sides",
    "balances_sum_to_zero": "all balances of a currency sum to zero",
    "no_wallet_overdrawn": "no wallet is overdrawn",
    "balances_match_transfers": "a balance is the sum of its transfers, a held amount the sum of its holds",
    "state_matches_money": "a payment's state says what happened to its money",
    "refunds_within_capture": "refunds never exceed the captured amount",
    "receipt_for_money_taken": "a payment has a receipt if and only if its money was taken",
    "one_live_payment_per_bill": "a bill has at most one live payment",
    "events_numbered_without_gap": "the events of an aggregate are numbered without gap or repeat",
    "events_published_in_time": "every event is published within a minute",
    "open_work_is_followed_up": "everything that is open has an errand or a case",
    SEALS: "no sealed transfer was changed, added or taken away",
    "promises_are_kept": "each promise of the HTTP door was accepted as promised or has failed",
    "no_orphan_rows": "no row refers to a row that does not exist",
}
