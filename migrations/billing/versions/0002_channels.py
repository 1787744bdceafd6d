"""Channels, their API keys and idempotency keys."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE channels (
    id text CONSTRAINT pk_channels PRIMARY KEY,
    name text NOT NULL,
    active boolean NOT NULL DEFAULT true,
    max_payment_minor bigint NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_channels_id_is_a_slug CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    CONSTRAINT ck_channels_limit_is_positive CHECK (max_payment_minor > 0)
);
CREATE TABLE api_keys (
    id uuid CONSTRAINT pk_api_keys PRIMARY KEY,
    channel_id text NOT NULL CONSTRAINT fk_api_keys_channel_id_channels REFERENCES channels,
    prefix text NOT NULL CONSTRAINT uq_api_keys_prefix UNIQUE,
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE TABLE idempotency_keys (
    channel_id text NOT NULL,
    key text NOT NULL,
    request_hash bytea NOT NULL,
    resource_id uuid NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_idempotency_keys PRIMARY KEY (channel_id, key)
);
GRANT SELECT, INSERT, UPDATE (name, active, max_payment_minor) ON channels TO billing_app;
GRANT SELECT, INSERT, UPDATE (revoked_at) ON api_keys TO billing_app;
GRANT SELECT, INSERT, DELETE ON idempotency_keys TO billing_app;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for table in ("idempotency_keys", "api_keys", "channels"):
        op.execute(f"DROP TABLE {table}")
