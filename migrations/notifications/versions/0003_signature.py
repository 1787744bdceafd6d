"""The outbox's column for signatures, which both services' outboxes have."""

from alembic import op

from messaging.outbox.ddl import add_signature

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    add_signature(op, "notifications_app")


def downgrade() -> None:
    op.execute("ALTER TABLE outbox DROP COLUMN IF EXISTS signature")
