"""Kind is part of identity: in recorded calls and cases, and by an own transfer id of refunds and top-ups.

What is booked stays as it was booked: a refund or top-up that has its transfer keeps that transfer's id. What is not
booked yet gets the derived id (events.ids.derived_id, here in SQL). With it, a refund that could not be booked because
its id was its payment's is booked at its next attempt.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def _derived(kind: str) -> str:
    # Bytes 6 and 8 carry version 8 and the variant.
    digest = f"substring(sha256(convert_to('{kind}:' || id::text, 'UTF8')) FROM 1 FOR 16)"
    with_version = f"set_byte({digest}, 6, get_byte({digest}, 6) & 15 | 128)"
    return f"encode(set_byte({with_version}, 8, get_byte({digest}, 8) & 63 | 128), 'hex')::uuid"


_TRANSFER_IDS = """
ALTER TABLE {table} ADD COLUMN transfer_id uuid;
UPDATE {table} SET transfer_id = CASE WHEN state = 'succeeded' THEN id ELSE {derived} END;
ALTER TABLE {table} ALTER COLUMN transfer_id SET NOT NULL,
    ADD CONSTRAINT uq_{table}_transfer_id UNIQUE (transfer_id);
"""

# A statement's line that is not matched yet names the transfer that will book it.
_LINES = """
UPDATE statement_lines l SET our_id = r.transfer_id FROM refunds r
WHERE l.kind IN ('refund', 'refund_failure') AND l.our_id = r.id AND r.transfer_id <> r.id;
UPDATE statement_lines l SET our_id = u.transfer_id FROM top_ups u
WHERE l.kind = 'charge' AND l.our_id = u.id AND u.transfer_id <> u.id
    AND NOT EXISTS (SELECT FROM payments p WHERE p.id = u.id);
"""

# Most calls are a payment's, so that only those of refunds and top-ups have to be written again.
_SUBJECTS = """
ALTER TABLE outside_calls ADD COLUMN subject_kind text NOT NULL DEFAULT 'payment';
ALTER TABLE outside_calls ALTER COLUMN subject_kind DROP DEFAULT;
UPDATE outside_calls c SET subject_kind = 'refund' FROM refunds r
WHERE r.id = c.subject AND c.leg IN ('unapply', 'refund');
UPDATE outside_calls c SET subject_kind = 'top_up' FROM top_ups u
WHERE u.id = c.subject AND (c.leg = 'charge'
    OR c.leg = 'void' AND NOT EXISTS (SELECT FROM payments p WHERE p.id = u.id));
ALTER TABLE outside_calls ADD CONSTRAINT ck_outside_calls_subject_kind_is_declared CHECK (
    subject_kind IN ('payment', 'refund', 'top_up'));
ALTER TABLE cases ADD COLUMN subject_kind text;
UPDATE cases c SET subject_kind = CASE
    WHEN EXISTS (SELECT FROM payments p WHERE p.id = c.subject) THEN 'payment'
    WHEN EXISTS (SELECT FROM refunds r WHERE r.id = c.subject) THEN 'refund' ELSE 'top_up' END;
ALTER TABLE cases ALTER COLUMN subject_kind SET NOT NULL;
ALTER TABLE cases ADD CONSTRAINT ck_cases_subject_kind_is_declared CHECK (
    subject_kind IN ('payment', 'refund', 'top_up'));
DROP INDEX uq_cases_open;
CREATE UNIQUE INDEX uq_cases_open ON cases (subject, subject_kind, kind) WHERE closed_at IS NULL;
"""

_FORMER_KEYS = """
ALTER TABLE payments ADD COLUMN former_psp_key boolean;
UPDATE payments SET former_psp_key = true WHERE next_attempt_at IS NOT NULL;
ALTER TABLE top_ups ADD COLUMN former_psp_key boolean;
UPDATE top_ups SET former_psp_key = true WHERE next_attempt_at IS NOT NULL;
"""


def upgrade() -> None:
    _run(_TRANSFER_IDS.format(table="refunds", derived=_derived("refund")))
    _run(_TRANSFER_IDS.format(table="top_ups", derived=_derived("top_up")))
    _run(_LINES + _SUBJECTS + _FORMER_KEYS)


def downgrade() -> None:
    _run("""
        ALTER TABLE payments DROP COLUMN former_psp_key;
        ALTER TABLE top_ups DROP COLUMN former_psp_key, DROP COLUMN transfer_id;
        ALTER TABLE refunds DROP COLUMN transfer_id;
        DROP INDEX uq_cases_open;
        ALTER TABLE cases DROP COLUMN subject_kind;
        CREATE UNIQUE INDEX uq_cases_open ON cases (subject, kind) WHERE closed_at IS NULL;
        ALTER TABLE outside_calls DROP COLUMN subject_kind;
    """)


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip(" ;\n"):
            op.execute(statement)
