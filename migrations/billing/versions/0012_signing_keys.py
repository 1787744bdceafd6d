"""Signing keys of channels, and the outbox's column for the signatures of commands."""

from alembic import op

from messaging.outbox.ddl import add_signature

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# The secret of a key is derived from its id, its channel and METERHALL_COMMAND_SECRET: it is not stored.
_TABLES = """
CREATE TABLE signing_keys (
    id varchar(8) CONSTRAINT pk_signing_keys PRIMARY KEY,
    channel_id varchar(40) NOT NULL CONSTRAINT fk_signing_keys_channel_id_channels REFERENCES channels,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz,
    CONSTRAINT ck_signing_keys_id_is_hex CHECK (id ~ '^[0-9a-f]{8}$')
);
GRANT SELECT, INSERT (id, channel_id), UPDATE (revoked_at) ON signing_keys TO billing_app;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    add_signature(op, "billing_app")


def downgrade() -> None:
    op.execute("ALTER TABLE outbox DROP COLUMN IF EXISTS signature")
    op.execute("DROP TABLE signing_keys")
