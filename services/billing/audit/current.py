"""Invariants about the present state: balances, the outbox's backlog, open work. Every audit judges them.

The form is that of by_span.py. no_wallet_overdrawn is a database constraint as well: the audit proves that it holds.
"""

from messaging.outbox import UNPUBLISHED
from services.billing import ledger

CURRENT: dict[str, tuple[str, ...]] = {
    "balances_sum_to_zero": (
        """
        SELECT currency AS subject, 'all balances together are ' || sum(balance_minor) AS what
        FROM ledger_accounts GROUP BY currency HAVING sum(balance_minor) <> 0
        """,
    ),
    # A wallet is never overdrawn and never spends an amount that is held; no wallet is exempt.
    "no_wallet_overdrawn": (
        """
        SELECT address AS subject, balance_minor || ' less ' || held_minor || ' held ' || currency AS what
        FROM ledger_accounts
        WHERE held_minor < 0 OR (no_overdraft AND balance_minor < held_minor)
           OR (address LIKE 'wallet:%' AND NOT no_overdraft)
        """,
    ),
    # The held amount of an account is the sum of its pending holds. (Balances: below.)
    "balances_match_transfers": (
        """
        WITH pending AS (
            SELECT account, sum(amount_minor) AS minor FROM holds WHERE state = 'pending' GROUP BY account
        )
        SELECT a.address AS subject, 'held ' || a.held_minor || ', holds ' || coalesce(p.minor, 0) || ' '
            || a.currency AS what
        FROM ledger_accounts a LEFT JOIN pending p ON p.account = a.id
        WHERE a.held_minor <> coalesce(p.minor, 0)
        """,
    ),
    # The relay publishes within milliseconds, so an event that waits for a minute is an alarm.
    "events_published_in_time": (
        f"""
        WITH at AS MATERIALIZED (SELECT prev, cur, last_id FROM outbox_cursor WHERE shard = 0)
        SELECT CAST(event_id AS text) AS subject, 'written at ' || created_at || ' and not published' AS what
        FROM outbox WHERE {UNPUBLISHED} AND created_at < now() - interval '60 seconds'
        """,  # noqa: S608 - our own text
    ),
    # Nothing stays open for longer than 25 hours without a case: a day of repeated calls, and an hour for the next
    # one. An errand that has been due for 15 minutes, while its institution got no call at all, means that no process
    # claims.
    "open_work_is_followed_up": (
        """
        SELECT e.kind || ' ' || e.subject AS subject, e.leg || ' at ' || e.institution || ' due since ' || e.due_at
            || ', and no process calls there' AS what
        FROM errands e WHERE e.due_at < now() - interval '15 minutes'
          AND NOT EXISTS (SELECT FROM paused_institutions p WHERE p.institution = e.institution)
          AND NOT EXISTS (SELECT FROM errands o WHERE o.institution = e.institution
              AND (o.sent_at > now() - interval '15 minutes' OR (o.held AND o.due_at > now())))
        """,
        """
        SELECT e.kind || ' ' || e.subject AS subject, o.state || ' since ' || o.created_at || ', without a case' AS what
        FROM errands e JOIN (
            SELECT 'payment' AS kind, id, state, created_at FROM payments
            UNION ALL SELECT 'refund', id, state, created_at FROM refunds
            UNION ALL SELECT 'top_up', id, state, created_at FROM top_ups
        ) AS o ON o.kind = e.kind AND o.id = e.subject
        WHERE o.created_at < now() - interval '25 hours' AND NOT EXISTS (
            SELECT FROM cases c WHERE c.subject = e.subject AND c.subject_kind = e.kind AND c.closed_at IS NULL)
        """,
        """
        SELECT 'errand ' || e.kind || ' ' || e.subject AS subject, 'its subject is not open' AS what
        FROM errands e
        WHERE NOT CASE e.kind
            WHEN 'payment' THEN EXISTS (SELECT FROM payments p WHERE p.id = e.subject
                AND p.state IN ('accepted', 'authorized', 'applied'))
            WHEN 'refund' THEN EXISTS (SELECT FROM refunds r WHERE r.id = e.subject
                AND r.state IN ('accepted', 'unapplied'))
            WHEN 'top_up' THEN EXISTS (SELECT FROM top_ups t WHERE t.id = e.subject AND t.state = 'accepted')
            WHEN 'late_payment' THEN EXISTS (SELECT FROM payments p WHERE p.id = e.subject
                AND p.state IN ('declined', 'voided', 'rejected'))
            WHEN 'late_refund' THEN EXISTS (SELECT FROM refunds r WHERE r.id = e.subject AND r.state = 'succeeded')
            WHEN 'late_top_up' THEN EXISTS (SELECT FROM top_ups t WHERE t.id = e.subject AND t.state = 'declined')
            ELSE EXISTS (SELECT FROM lookups l WHERE l.id = e.subject AND l.state = 'pending') END
        """,
    ),
    "no_orphan_rows": (
        """
        SELECT 'case ' || c.id AS subject, 'its payment, refund or top-up does not exist' AS what FROM cases c
        WHERE NOT CASE c.subject_kind WHEN 'payment' THEN EXISTS (SELECT FROM payments p WHERE p.id = c.subject)
            WHEN 'refund' THEN EXISTS (SELECT FROM refunds r WHERE r.id = c.subject)
            ELSE EXISTS (SELECT FROM top_ups u WHERE u.id = c.subject) END
        """,
    ),
}

# A balance is the sum of its account's transfers.
BALANCES: dict[str, tuple[str, ...]] = {
    "balances_match_transfers": (
        """
        WITH moved AS (
            SELECT account, sum(amount) AS minor FROM (
                SELECT debit_account AS account, -sum(amount_minor) AS amount FROM transfers GROUP BY 1
                UNION ALL
                SELECT credit_account, sum(amount_minor) FROM transfers GROUP BY 1) AS both_sides GROUP BY account
        )
        SELECT a.address AS subject,
            'balance ' || a.balance_minor || ', transfers ' || coalesce(m.minor, 0) || ' ' || a.currency AS what
        FROM ledger_accounts a LEFT JOIN moved m ON m.account = a.id
        WHERE a.balance_minor <> coalesce(m.minor, 0)
        """,
    ),
}

# The same for all accounts of a bucket together: the sums of sealed transfers are stored by bucket, and the transfers
# after the last seal are added.
BUCKETS: dict[str, tuple[str, ...]] = {
    "balances_match_transfers": (
        f"""
        WITH moved AS (
            SELECT bucket, sum(amount) AS minor FROM (
                SELECT debit_account % {ledger.BUCKETS} AS bucket, -sum(amount_minor) AS amount
                FROM {{transfers}} AS t GROUP BY 1
                UNION ALL
                SELECT credit_account % {ledger.BUCKETS}, sum(amount_minor) FROM {{transfers}} AS t GROUP BY 1
                UNION ALL
                SELECT bucket, balance_minor FROM sealed_sums) AS all_of_it GROUP BY bucket
        ), kept AS (
            SELECT id % {ledger.BUCKETS} AS bucket, sum(balance_minor) AS minor FROM ledger_accounts GROUP BY 1
        )
        SELECT 'accounts with id modulo {ledger.BUCKETS} = ' || bucket AS subject, 'balances ' || coalesce(k.minor, 0)
            || ', transfers ' || coalesce(m.minor, 0) || ': `meterhall audit` finds the account' AS what
        FROM kept k FULL JOIN moved m USING (bucket) WHERE coalesce(k.minor, 0) <> coalesce(m.minor, 0)
        """,  # noqa: S608 - our own text
    ),
}
