"""The tables of outbox."""

from alembic import op

from messaging.outbox.ddl import create_outbox, drop_outbox

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    create_outbox(op, "billing_app")


def downgrade() -> None:
    drop_outbox(op)
