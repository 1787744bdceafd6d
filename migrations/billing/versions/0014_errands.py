"""Errands: what is under way moves from columns of payments, refunds, top-ups and look-ups into one table.

Stop worker and timer first. What is open is taken for contested: a call may have gone out before the stop, so the next
process queries before it asks.
"""

from alembic import op

from errands.ddl import create_errands, drop_errands

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

# The leg that was not answered, else the one that follows from the state; and who is asked for it.
_PAYMENTS = """
INSERT INTO errands (kind, subject, institution, leg, leg_since, fence, contested, unknown_since, sent_at, due_at)
SELECT 'payment', id,
    CASE WHEN leg IN ('apply', 'unapply') THEN biller WHEN funding = 'psp' THEN 'psp' ELSE 'ledger' END,
    leg, coalesce(unknown_since, created_at), attempts, true, unknown_since, now(), next_attempt_at
FROM (
    SELECT p.id, p.funding, p.unknown_since, p.created_at, p.attempts, p.next_attempt_at,
        CASE WHEN b.settled_by = 'call' THEN 'biller:' || b.id ELSE 'ledger' END AS biller,
        coalesce(p.unknown_leg, CASE p.state WHEN 'accepted' THEN 'authorize' WHEN 'applied' THEN 'capture'
            ELSE CASE WHEN b.settled_by = 'call' THEN 'apply' ELSE 'capture' END END) AS leg
    FROM payments p JOIN billers b ON b.id = p.biller_id WHERE p.next_attempt_at IS NOT NULL) open_ones
"""
# Only a refund that completes its payment asks the biller.
_REFUNDS = """
INSERT INTO errands (kind, subject, institution, leg, leg_since, fence, contested, unknown_since, sent_at, due_at)
SELECT 'refund', id,
    CASE WHEN leg = 'unapply' AND settled_by = 'call' THEN 'biller:' || biller_id
         WHEN funding = 'psp' THEN 'psp' ELSE 'ledger' END,
    leg, coalesce(unknown_since, created_at), attempts, true, unknown_since, now(), next_attempt_at
FROM (
    SELECT r.id, r.unknown_since, r.created_at, r.attempts, r.next_attempt_at, p.funding, p.biller_id, b.settled_by,
        coalesce(r.unknown_leg, CASE WHEN r.state = 'accepted' AND b.settled_by = 'call'
            AND p.refunded_minor + p.refund_pending_minor = p.captured_minor THEN 'unapply' ELSE 'refund' END) AS leg
    FROM refunds r JOIN payments p ON p.id = r.payment_id JOIN billers b ON b.id = p.biller_id
    WHERE r.next_attempt_at IS NOT NULL) open_ones
"""
_TOP_UPS = """
INSERT INTO errands (kind, subject, institution, leg, leg_since, fence, contested, unknown_since, sent_at, due_at)
SELECT 'top_up', id, 'psp', 'charge', coalesce(unknown_since, created_at), attempts, true, unknown_since, now(),
    next_attempt_at
FROM top_ups WHERE next_attempt_at IS NOT NULL
"""
_LOOKUPS = """
INSERT INTO errands (kind, subject, institution, leg)
SELECT 'lookup', l.id, CASE WHEN b.settled_by = 'call' AND b.active THEN 'biller:' || b.id ELSE 'ledger' END, 'lookup'
FROM lookups l JOIN accounts a ON a.id = l.account_id JOIN billers b ON b.id = a.biller_id WHERE l.state = 'pending'
"""
_DROP = """
ALTER TABLE payments DROP COLUMN unknown_leg, DROP COLUMN unknown_since, DROP COLUMN attempts,
    DROP COLUMN next_attempt_at;
ALTER TABLE refunds DROP COLUMN unknown_leg, DROP COLUMN unknown_since, DROP COLUMN attempts,
    DROP COLUMN next_attempt_at;
ALTER TABLE top_ups DROP COLUMN unknown_leg, DROP COLUMN unknown_since, DROP COLUMN attempts,
    DROP COLUMN next_attempt_at;
ALTER TABLE lookups DROP COLUMN taken_at;
CREATE INDEX ix_lookups_pending ON lookups (created_at) WHERE state = 'pending';
ALTER TABLE cases ADD COLUMN closed_because varchar(1000);
GRANT UPDATE (closed_because) ON cases TO billing_app;
ALTER TABLE billers ADD COLUMN late_effect_seconds integer NOT NULL DEFAULT 120
    CONSTRAINT ck_billers_late_effect_is_sane CHECK (late_effect_seconds BETWEEN 0 AND 86400);
GRANT UPDATE (late_effect_seconds) ON billers TO billing_app
"""

_COLUMNS_BACK = """
ALTER TABLE {table} ADD COLUMN unknown_leg varchar(64), ADD COLUMN unknown_since timestamptz,
    ADD COLUMN attempts integer NOT NULL DEFAULT 0, ADD COLUMN next_attempt_at timestamptz;
GRANT UPDATE (unknown_leg, unknown_since, attempts, next_attempt_at) ON {table} TO billing_app;
UPDATE {table} t SET unknown_leg = CASE WHEN e.unknown_since IS NOT NULL THEN e.leg END,
    unknown_since = e.unknown_since, attempts = e.fence + 1, next_attempt_at = e.due_at
FROM errands e WHERE e.kind = '{kind}' AND e.subject = t.id;
CREATE INDEX ix_{table}_next_attempt_at ON {table} (next_attempt_at) WHERE next_attempt_at IS NOT NULL
"""
_BACK = """
DROP INDEX ix_lookups_pending;
ALTER TABLE payments ADD CONSTRAINT ck_payments_unknown_since_when CHECK (
    (unknown_leg IS NULL) = (unknown_since IS NULL));
ALTER TABLE lookups ADD COLUMN taken_at timestamptz NOT NULL DEFAULT now();
GRANT UPDATE (taken_at) ON lookups TO billing_app;
CREATE INDEX ix_lookups_pending ON lookups (taken_at) WHERE state = 'pending';
ALTER TABLE cases DROP COLUMN closed_because;
ALTER TABLE billers DROP COLUMN late_effect_seconds
"""


def upgrade() -> None:
    create_errands(op, "billing_app")
    for statement in (_PAYMENTS, _REFUNDS, _TOP_UPS, _LOOKUPS):
        op.execute(statement)
    _run(_DROP)


def downgrade() -> None:
    for table, kind in (("payments", "payment"), ("refunds", "refund"), ("top_ups", "top_up")):
        _run(_COLUMNS_BACK.format(table=table, kind=kind))
    _run(_BACK)
    drop_errands(op)


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        op.execute(statement)
