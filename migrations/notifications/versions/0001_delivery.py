"""The tables of notifications: who is told, what is to be delivered, and the outbox."""

from alembic import op

from messaging.outbox.ddl import create_outbox, drop_outbox

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE channels (
    id text CONSTRAINT pk_channels PRIMARY KEY,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_channels_id_is_a_slug CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,39}$')
);
CREATE TABLE tokens (
    prefix text CONSTRAINT pk_tokens PRIMARY KEY,
    channel text NOT NULL CONSTRAINT fk_tokens_channel_channels REFERENCES channels,
    hash bytea NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    revoked_at timestamptz
);
CREATE TABLE recipients (
    channel text NOT NULL CONSTRAINT fk_recipients_channel_channels REFERENCES channels,
    payer text NOT NULL,
    email text NOT NULL,
    language text NOT NULL,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_recipients PRIMARY KEY (channel, payer),
    CONSTRAINT ck_recipients_payer_is_opaque CHECK (payer ~ '^[A-Za-z0-9_-]{1,64}$'),
    CONSTRAINT ck_recipients_email_fits_a_header CHECK (length(email) <= 254 AND email ~ '^[!-~]+@[!-~]+$'),
    CONSTRAINT ck_recipients_language_is_spoken CHECK (language IN ('zh-CN', 'en'))
);
CREATE TABLE endpoints (
    channel text CONSTRAINT pk_endpoints PRIMARY KEY
        CONSTRAINT fk_endpoints_channel_channels REFERENCES channels,
    url text NOT NULL,
    secret text NOT NULL,
    previous_secret text,
    previous_until timestamptz,
    active boolean NOT NULL DEFAULT true,
    updated_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_endpoints_url_is_http CHECK (url ~ '^https?://[!-~]+$' AND length(url) <= 2000),
    CONSTRAINT ck_endpoints_previous_until_when CHECK ((previous_secret IS NULL) = (previous_until IS NULL))
);
CREATE TABLE deliveries (
    id uuid CONSTRAINT pk_deliveries PRIMARY KEY,
    event_id uuid NOT NULL,
    medium text NOT NULL,
    recipient text NOT NULL,
    channel text NOT NULL,
    payer text NOT NULL,
    event_type text NOT NULL,
    body bytea NOT NULL,
    status text NOT NULL DEFAULT 'pending',
    version integer NOT NULL DEFAULT 0,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz DEFAULT now(),
    lease uuid,
    reason text,
    correlation_id text,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    CONSTRAINT uq_deliveries_event_id_medium_recipient UNIQUE (event_id, medium, recipient),
    CONSTRAINT ck_deliveries_medium_is_declared CHECK (medium IN ('mail', 'webhook')),
    CONSTRAINT ck_deliveries_status_is_declared CHECK (status IN ('pending', 'delivered', 'failed')),
    CONSTRAINT ck_deliveries_due_while_pending CHECK ((status = 'pending') = (next_attempt_at IS NOT NULL)),
    CONSTRAINT ck_deliveries_ended_unless_pending CHECK ((status = 'pending') = (ended_at IS NULL)),
    CONSTRAINT ck_deliveries_leased_while_pending CHECK (lease IS NULL OR status = 'pending'),
    CONSTRAINT ck_deliveries_failed_with_a_reason CHECK (status <> 'failed' OR reason IS NOT NULL)
) WITH (fillfactor = 70);
CREATE INDEX ix_deliveries_due ON deliveries (medium, channel, next_attempt_at) WHERE status = 'pending';
CREATE INDEX ix_deliveries_channel_payer_id ON deliveries (channel, payer, id);
CREATE INDEX ix_deliveries_failed ON deliveries (channel, id) WHERE status = 'failed';

GRANT SELECT, INSERT ON channels TO notifications_app;
GRANT SELECT, INSERT, UPDATE (revoked_at) ON tokens TO notifications_app;
GRANT SELECT, INSERT, DELETE, UPDATE (email, language, updated_at) ON recipients TO notifications_app;
GRANT SELECT, INSERT, UPDATE (url, secret, previous_secret, previous_until, active, updated_at)
    ON endpoints TO notifications_app;
GRANT SELECT, INSERT, DELETE, UPDATE (status, version, attempts, next_attempt_at, lease, reason, ended_at)
    ON deliveries TO notifications_app;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    create_outbox(op, "notifications_app")


def downgrade() -> None:
    drop_outbox(op)
    for table in ("deliveries", "endpoints", "recipients", "tokens", "channels"):
        op.execute(f"DROP TABLE {table}")
