"""Payments, refunds, top-ups, requests, outside calls, cases, PSP webhooks."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_CHARGING = """
    version integer NOT NULL,
    psp_intent_id text,
    action_url text
"""
_RESUMING = """
    unknown_leg text,
    unknown_since timestamptz,
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz,
    reason text,
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz
"""

_TABLES = f"""
CREATE TABLE payments (
    id uuid CONSTRAINT pk_payments PRIMARY KEY,
    channel_id text NOT NULL,
    payer text NOT NULL,
    bill_id uuid NOT NULL,
    biller_id text,
    account_id uuid,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    funding text NOT NULL,
    payment_method text,
    request_hash bytea NOT NULL,
    state text NOT NULL,
    captured_minor bigint NOT NULL DEFAULT 0,
    refund_pending_minor bigint NOT NULL DEFAULT 0,
    refunded_minor bigint NOT NULL DEFAULT 0,
    authorized_at timestamptz,
    applied_at timestamptz,
    {_CHARGING},
    {_RESUMING},
    CONSTRAINT ck_payments_amount_is_positive CHECK (amount_minor > 0),
    CONSTRAINT ck_payments_state_is_declared CHECK (state IN ('accepted', 'authorized', 'applied', 'succeeded',
        'partially_refunded', 'refunded', 'reversed', 'voided', 'rejected', 'declined')),
    CONSTRAINT ck_payments_funding_is_declared CHECK (funding IN ('wallet', 'psp')),
    CONSTRAINT ck_payments_refunds_within_capture CHECK (refund_pending_minor >= 0 AND refunded_minor >= 0
        AND refunded_minor + refund_pending_minor <= captured_minor),
    CONSTRAINT ck_payments_captured_when_succeeded CHECK (
        (state IN ('succeeded', 'partially_refunded', 'refunded', 'reversed')) = (captured_minor > 0)),
    CONSTRAINT ck_payments_finished_once CHECK (
        (state IN ('accepted', 'authorized', 'applied')) = (finished_at IS NULL)),
    CONSTRAINT ck_payments_unknown_since_when CHECK ((unknown_leg IS NULL) = (unknown_since IS NULL))
);
CREATE UNIQUE INDEX uq_payments_live_bill ON payments (bill_id)
    WHERE state IN ('accepted', 'authorized', 'applied', 'succeeded', 'partially_refunded');
CREATE INDEX ix_payments_next_attempt_at ON payments (next_attempt_at) WHERE next_attempt_at IS NOT NULL;
CREATE INDEX ix_payments_channel_id_created_at_id ON payments (channel_id, created_at, id);
CREATE INDEX ix_payments_channel_id_payer_created_at_id ON payments (channel_id, payer, created_at, id);

CREATE TABLE refunds (
    id uuid CONSTRAINT pk_refunds PRIMARY KEY,
    payment_id uuid NOT NULL CONSTRAINT fk_refunds_payment_id_payments REFERENCES payments,
    amount_minor bigint NOT NULL,
    request_hash bytea NOT NULL,
    state text NOT NULL,
    psp_refund_id text,
    reversal boolean NOT NULL DEFAULT false,
    {_RESUMING},
    CONSTRAINT ck_refunds_amount_is_positive CHECK (amount_minor > 0),
    CONSTRAINT ck_refunds_state_is_declared CHECK (state IN ('accepted', 'unapplied', 'succeeded', 'failed'))
);
CREATE INDEX ix_refunds_payment_id ON refunds (payment_id);
CREATE INDEX ix_refunds_next_attempt_at ON refunds (next_attempt_at) WHERE next_attempt_at IS NOT NULL;

CREATE TABLE top_ups (
    id uuid CONSTRAINT pk_top_ups PRIMARY KEY,
    channel_id text NOT NULL,
    payer text NOT NULL,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    payment_method text NOT NULL,
    request_hash bytea NOT NULL,
    state text NOT NULL,
    {_CHARGING},
    {_RESUMING},
    CONSTRAINT ck_top_ups_amount_is_positive CHECK (amount_minor > 0),
    CONSTRAINT ck_top_ups_state_is_declared CHECK (state IN ('accepted', 'succeeded', 'declined'))
);
CREATE INDEX ix_top_ups_next_attempt_at ON top_ups (next_attempt_at) WHERE next_attempt_at IS NOT NULL;

CREATE TABLE payment_requests (
    id uuid CONSTRAINT pk_payment_requests PRIMARY KEY,
    kind text NOT NULL,
    channel_id text NOT NULL,
    payer text NOT NULL,
    subject uuid,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_payment_requests_kind_is_declared CHECK (kind IN ('payment', 'refund', 'top_up'))
);
CREATE INDEX ix_payment_requests_channel_id_created_at_id ON payment_requests (channel_id, created_at, id);

CREATE TABLE outside_calls (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_outside_calls PRIMARY KEY,
    subject uuid NOT NULL,
    leg text NOT NULL,
    outcome text NOT NULL,
    detail text,
    started_at timestamptz NOT NULL,
    duration_ms integer NOT NULL,
    CONSTRAINT ck_outside_calls_leg_is_declared CHECK (
        leg IN ('authorize', 'apply', 'capture', 'void', 'unapply', 'refund', 'charge'))
);
CREATE INDEX ix_outside_calls_subject ON outside_calls (subject);

CREATE TABLE cases (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_cases PRIMARY KEY,
    subject uuid NOT NULL,
    kind text NOT NULL,
    note text NOT NULL,
    opened_at timestamptz NOT NULL DEFAULT now(),
    closed_at timestamptz
);
CREATE UNIQUE INDEX uq_cases_open ON cases (subject, kind) WHERE closed_at IS NULL;

CREATE TABLE psp_webhooks (
    event_id text CONSTRAINT pk_psp_webhooks PRIMARY KEY,
    type text NOT NULL,
    object_id text NOT NULL,
    received_at timestamptz NOT NULL DEFAULT now()
);

GRANT SELECT, INSERT ON payments, refunds, top_ups TO billing_app;
GRANT UPDATE (state, captured_minor, refund_pending_minor, refunded_minor, authorized_at, applied_at, version,
    psp_intent_id, action_url, unknown_leg, unknown_since, attempts, next_attempt_at, reason, finished_at)
    ON payments TO billing_app;
GRANT UPDATE (state, psp_refund_id, unknown_leg, unknown_since, attempts, next_attempt_at, reason, finished_at)
    ON refunds TO billing_app;
GRANT UPDATE (state, version, psp_intent_id, action_url, unknown_leg, unknown_since, attempts, next_attempt_at,
    reason, finished_at) ON top_ups TO billing_app;
GRANT SELECT, INSERT, DELETE ON payment_requests TO billing_app;
GRANT SELECT, INSERT ON outside_calls, psp_webhooks TO billing_app;
GRANT SELECT, INSERT, UPDATE (closed_at) ON cases TO billing_app;
"""

_TRANSITIONS = """
CREATE FUNCTION refuse_undeclared_transition() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.state, NEW.state) NOT IN (
        ('accepted', 'authorized'), ('accepted', 'applied'), ('accepted', 'succeeded'), ('accepted', 'voided'),
        ('accepted', 'declined'),
        ('authorized', 'applied'), ('authorized', 'succeeded'), ('authorized', 'voided'),
        ('applied', 'succeeded'), ('applied', 'voided'),
        ('succeeded', 'partially_refunded'), ('succeeded', 'refunded'), ('succeeded', 'reversed'),
        ('partially_refunded', 'refunded'), ('partially_refunded', 'reversed')
    ) THEN
        RAISE EXCEPTION 'payment % can not go from % to %', OLD.id, OLD.state, NEW.state
            USING ERRCODE = 'check_violation', CONSTRAINT = 'payments_transition_is_declared';
    END IF;
    RETURN NEW;
END $$
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    op.execute(_TRANSITIONS)
    op.execute(
        "CREATE TRIGGER payments_transition BEFORE UPDATE OF state ON payments FOR EACH ROW"
        " WHEN (OLD.state <> NEW.state) EXECUTE FUNCTION refuse_undeclared_transition()"
    )


def downgrade() -> None:
    for table in (
        "psp_webhooks",
        "cases",
        "outside_calls",
        "payment_requests",
        "top_ups",
        "refunds",
        "payments",
    ):
        op.execute(f"DROP TABLE {table}")
    op.execute("DROP FUNCTION refuse_undeclared_transition")
