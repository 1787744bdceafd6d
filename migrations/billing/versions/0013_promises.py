"""A promise names its command and can end as failed; the auditor finds promises by span.

What was promised more than a day ago and never accepted ends as failed here. For that, all promises are compared once
with what was accepted: plan a minute for ten million.
"""

from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_PROMISES = """
ALTER TABLE payment_requests ADD COLUMN command_id uuid, ADD COLUMN failed_at timestamptz,
    ADD COLUMN reason varchar(64),
    ADD CONSTRAINT ck_payment_requests_failed_for_a_reason CHECK ((failed_at IS NULL) = (reason IS NULL));
UPDATE payment_requests r SET failed_at = now(), reason = 'not_accepted'
WHERE created_at < now() - interval '1 day' AND (
    kind = 'payment' AND NOT EXISTS (SELECT FROM payments p WHERE p.id = r.id AND p.channel_id = r.channel_id)
    OR kind = 'top_up' AND NOT EXISTS (SELECT FROM top_ups t WHERE t.id = r.id AND t.channel_id = r.channel_id)
    OR kind = 'refund' AND NOT EXISTS (SELECT FROM refunds f JOIN payments p ON p.id = f.payment_id
        WHERE f.id = r.id AND p.channel_id = r.channel_id));
ALTER TABLE lookups ADD COLUMN command_id uuid;
CREATE INDEX ix_payment_requests_created_at ON payment_requests USING brin (created_at);
GRANT UPDATE (failed_at, reason) ON payment_requests TO billing_app;
"""


def upgrade() -> None:
    for statement in _PROMISES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("ALTER TABLE lookups DROP COLUMN command_id")
    op.execute("DROP INDEX ix_payment_requests_created_at")
    op.execute("REVOKE UPDATE (failed_at, reason) ON payment_requests FROM billing_app")
    op.execute(
        "ALTER TABLE payment_requests DROP COLUMN command_id, DROP COLUMN failed_at, DROP COLUMN reason"
    )
