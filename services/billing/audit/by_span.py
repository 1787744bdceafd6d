"""Invariants about rows, judged by the span of time in which the rows were written, so that an audit need not read
all.

An invariant is one or more SQL statements that return a row for each violation: `subject` (which payment, transfer,
…) and `what` (the contradiction, in words). No rows: the invariant holds. A name in braces stands for the rows of a
span, or for the whole table (span.py); rows of other tables are looked up by key. `current.py` has the invariants
about the present state, names.py the meaning of each. Some are database constraints as well (transfers_balance,
refunds_within_capture, one_live_payment_per_bill): the audit proves that the constraints hold.
"""

from datetime import timedelta

# A promise `r` must be accepted within this time. A span is judged again when all of its promises are older (audit.py).
DUE_AFTER = timedelta(minutes=15)
_DUE = f"r.created_at < now() - interval '{DUE_AFTER.total_seconds()} seconds'"
_NOT_ACCEPTED = "'promised at ' || r.created_at || ' and not accepted'"
_PROMISED = "'promised over ' || r.amount_minor || ' ' || r.currency"

BY_SPAN: dict[str, tuple[str, ...]] = {
    # One amount, one currency on both sides, two different accounts that exist (decision 7).
    "transfers_balance": (
        """
        SELECT CAST(t.id AS text) AS subject, 'currency ' || t.currency || ' from an account in '
            || coalesce(d.currency, 'nothing') || ' to one in ' || coalesce(c.currency, 'nothing') AS what
        FROM {transfers} t
        LEFT JOIN ledger_accounts d ON d.id = t.debit_account LEFT JOIN ledger_accounts c ON c.id = t.credit_account
        WHERE t.currency IS DISTINCT FROM d.currency OR t.currency IS DISTINCT FROM c.currency
           OR t.amount_minor <= 0 OR d.id = c.id
        """,
    ),
    # A payment whose money was taken has one transfer of its amount; every other payment has none.
    "state_matches_money": (
        """
        SELECT CAST(p.id AS text) AS subject, p.state || ' over ' || p.amount_minor || ', captured ' || p.captured_minor
            || ', refunded ' || p.refunded_minor || ', transfer '
            || coalesce(CAST(t.amount_minor AS text), 'none') AS what
        FROM {payments} p LEFT JOIN transfers t ON t.id = p.id AND t.kind = 'pay_bill'
        WHERE CASE WHEN p.state IN ('succeeded', 'partially_refunded', 'refunded', 'reversed')
            THEN t.amount_minor IS DISTINCT FROM p.captured_minor OR p.captured_minor <> p.amount_minor
                OR t.currency IS DISTINCT FROM p.currency
            ELSE t.id IS NOT NULL OR p.captured_minor <> 0 END
           OR (p.state = 'refunded') <> (p.refunded_minor = p.captured_minor AND p.captured_minor > 0
               AND p.state <> 'reversed')
           OR (p.state = 'succeeded' AND p.refunded_minor <> 0)
        """,
        """
        SELECT CAST(h.id AS text), 'the hold is ' || h.state || ', its payment ' || p.state
        FROM {holds} h JOIN payments p ON p.id = h.id
        WHERE (h.state = 'pending') <> (p.state IN ('authorized', 'applied'))
        """,
        """
        SELECT CAST(u.id AS text), 'the top-up is ' || u.state || ' over ' || u.amount_minor || ', transfer '
            || coalesce(CAST(t.amount_minor AS text), 'none')
        FROM {top_ups} u LEFT JOIN transfers t ON t.id = u.transfer_id AND t.kind = 'top_up'
        WHERE t.amount_minor IS DISTINCT FROM CASE WHEN u.state = 'succeeded' THEN u.amount_minor END
        """,
    ),
    # Refunds never exceed the captured amount; payment, refunds and ledger agree on them.
    "refunds_within_capture": (
        """
        SELECT CAST(p.id AS text) AS subject, 'captured ' || p.captured_minor || '; refunded ' || p.refunded_minor
            || ' (refunds ' || coalesce(r.done, 0) || ', transfers ' || coalesce(r.booked, 0) || '); pending '
            || p.refund_pending_minor || ' (refunds ' || coalesce(r.pending, 0) || ')' AS what
        FROM {payments} p LEFT JOIN (
            SELECT r.payment_id, sum(r.amount_minor) FILTER (WHERE r.state = 'succeeded') AS done,
                sum(r.amount_minor) FILTER (WHERE r.state IN ('accepted', 'unapplied')) AS pending,
                sum(t.amount_minor) AS booked
            FROM refunds r LEFT JOIN transfers t ON t.id = r.transfer_id AND t.corrects = r.payment_id
            WHERE r.payment_id IN (SELECT id FROM {payments} AS refunded) GROUP BY r.payment_id
        ) AS r ON r.payment_id = p.id
        WHERE p.refunded_minor + p.refund_pending_minor > p.captured_minor
           OR p.refunded_minor <> coalesce(r.done, 0) OR p.refunded_minor <> coalesce(r.booked, 0)
           OR p.refund_pending_minor <> coalesce(r.pending, 0)
        """,
    ),
    # A payment has one receipt, over its amount, if and only if its money was taken. The receipt is void when all of
    # the money went back.
    "receipt_for_money_taken": (
        """
        SELECT CAST(p.id AS text) AS subject, p.state || ' with ' || coalesce(r.receipts, 0) || ' receipts, of which '
            || coalesce(r.void, 0) || ' void' AS what
        FROM {new_payments} p LEFT JOIN (
            SELECT payment_id, count(*) AS receipts, count(voided_at) AS void, max(amount_minor) AS amount_minor
            FROM {their_receipts} AS theirs GROUP BY payment_id
        ) AS r ON r.payment_id = p.id
        WHERE coalesce(r.receipts, 0) <> CAST(
                p.state IN ('succeeded', 'partially_refunded', 'refunded', 'reversed') AS int)
           OR coalesce(r.void, 0) <> CAST(p.state IN ('refunded', 'reversed') AS int)
           OR (r.amount_minor IS NOT NULL AND r.amount_minor <> p.amount_minor)
        """,
    ),
    "one_live_payment_per_bill": (
        """
        SELECT CAST(bill_id AS text) AS subject, count(*) || ' live payments' AS what FROM {new_payments} AS p
        WHERE state IN ('accepted', 'authorized', 'applied', 'succeeded', 'partially_refunded')
        GROUP BY bill_id HAVING count(*) > 1
        """,
    ),
    # 2, 4 and 5 are the topics of events; commands have no sequence. A payment and a top-up may have the same id and
    # so the same key: they are two aggregates.
    "events_numbered_without_gap": (
        """
        SELECT CAST(event_id AS text) AS subject,
            'sequence ' || sequence || ' follows ' || before || ' of ' || key AS what
        FROM (
            SELECT event_id, key, sequence,
                lag(sequence) OVER (PARTITION BY topic, key, type LIKE '%TopUp%' OR type LIKE 'WalletToppedUp.%'
                    ORDER BY sequence, id) AS before
            FROM {outbox} AS written WHERE topic IN (2, 4, 5)
        ) AS numbered WHERE sequence <> before + 1
        """,
    ),
    # A payment, refund or top-up that is open has an errand, so that some process calls again, or a case for a person.
    "open_work_is_followed_up": (
        """
        SELECT kind || ' ' || id AS subject, state || ' since ' || created_at || ', without an errand or a case' AS what
        FROM (
            SELECT 'payment' AS kind, id, state, created_at FROM {new_payments} AS p
            WHERE state IN ('accepted', 'authorized', 'applied')
            UNION ALL
            SELECT 'refund', id, state, created_at FROM {refunds} AS refunds WHERE state IN ('accepted', 'unapplied')
            UNION ALL
            SELECT 'top_up', id, state, created_at FROM {top_ups} AS top_ups WHERE state = 'accepted'
        ) AS still_open
        WHERE NOT EXISTS (SELECT FROM errands e WHERE e.kind = still_open.kind AND e.subject = still_open.id)
          AND NOT EXISTS (SELECT FROM cases c WHERE c.subject = still_open.id AND c.subject_kind = still_open.kind
              AND c.kind = 'refund_stuck' AND c.closed_at IS NULL)
        """,
    ),
    # A promise of the HTTP door was accepted as promised, or has failed with a reason. A refund of everything that is
    # left may have another amount by then. When relay or worker stand still, no promise is accepted: an alarm after
    # 15 minutes.
    "promises_are_kept": (
        f"""
        SELECT 'promised payment ' || r.id AS subject, CASE WHEN p.id IS NULL THEN {_NOT_ACCEPTED}
            ELSE {_PROMISED} || ' for bill ' || r.subject || ', accepted over ' || p.amount_minor || ' ' || p.currency
                || ' for bill ' || p.bill_id || CASE WHEN p.payer = r.payer THEN '' ELSE ' of another payer' END
            END AS what
        FROM {{payment_requests}} r LEFT JOIN payments p ON p.id = r.id AND p.channel_id = r.channel_id
        WHERE r.kind = 'payment' AND r.failed_at IS NULL AND (p.id IS NULL AND {_DUE}
            OR (p.amount_minor, p.currency, p.bill_id, p.payer) <> (r.amount_minor, r.currency, r.subject, r.payer))
        """,  # noqa: S608 - our own text
        f"""
        SELECT 'promised top-up ' || r.id, CASE WHEN u.id IS NULL THEN {_NOT_ACCEPTED}
            ELSE {_PROMISED} || ', accepted over ' || u.amount_minor || ' ' || u.currency
                || CASE WHEN u.payer = r.payer THEN '' ELSE ' of another payer' END END
        FROM {{payment_requests}} r LEFT JOIN top_ups u ON u.id = r.id AND u.channel_id = r.channel_id
        WHERE r.kind = 'top_up' AND r.failed_at IS NULL AND (u.id IS NULL AND {_DUE}
            OR (u.amount_minor, u.currency, u.payer) <> (r.amount_minor, r.currency, r.payer))
        """,  # noqa: S608 - our own text
        f"""
        SELECT 'promised refund ' || r.id, CASE WHEN p.id IS NULL THEN {_NOT_ACCEPTED}
            ELSE 'promised of payment ' || r.subject || ', accepted of payment ' || f.payment_id END
        FROM {{payment_requests}} r LEFT JOIN refunds f ON f.id = r.id
            LEFT JOIN payments p ON p.id = f.payment_id AND p.channel_id = r.channel_id
        WHERE r.kind = 'refund' AND r.failed_at IS NULL AND (p.id IS NULL AND {_DUE} OR p.id <> r.subject)
        """,  # noqa: S608 - our own text
    ),
    # The hot path has no foreign keys, so the audit looks for rows that refer to a row which does not exist.
    "no_orphan_rows": (
        """
        SELECT 'payment ' || p.id AS subject, 'its bill, account or biller does not exist' AS what
        FROM {new_payments} p LEFT JOIN bills b ON b.id = p.bill_id LEFT JOIN accounts a ON a.id = p.account_id
            LEFT JOIN billers r ON r.id = p.biller_id
        WHERE (b.id IS NULL OR a.id IS NULL OR r.id IS NULL) AND p.state <> 'rejected'
        """,
        """
        SELECT 'receipt ' || r.number, 'its payment does not exist' FROM {receipts} r
        WHERE NOT EXISTS (SELECT FROM payments p WHERE p.id = r.payment_id)
        """,
        """
        SELECT 'transfer ' || t.id, 'the ' || t.kind || ' that it books does not exist' FROM {transfers} t
        WHERE (t.kind = 'pay_bill' AND NOT EXISTS (SELECT FROM payments p WHERE p.id = t.id))
           OR (t.kind IN ('refund', 'reversal', 'refund_to_wallet')
               AND NOT EXISTS (SELECT FROM refunds r WHERE r.transfer_id = t.id))
           OR (t.kind = 'late_capture' AND NOT EXISTS (SELECT FROM payments p WHERE p.id = t.id)
               AND NOT EXISTS (SELECT FROM top_ups u WHERE u.transfer_id = t.id))
           OR (t.kind IN ('late_return', 'refund_returned', 'returned_to_wallet') AND t.corrects IS NULL)
           OR (t.kind = 'top_up' AND NOT EXISTS (SELECT FROM top_ups u WHERE u.transfer_id = t.id))
           OR (t.kind IN ('psp_fee', 'psp_settlement')
               AND NOT EXISTS (SELECT FROM statement_lines l WHERE l.our_id = t.id))
        """,
        """
        SELECT 'hold ' || h.id, 'its payment does not exist' FROM {holds} h
        WHERE NOT EXISTS (SELECT FROM payments p WHERE p.id = h.id)
        """,
    ),
}
