"""Accounts, bills and lookups."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE accounts (
    id uuid CONSTRAINT pk_accounts PRIMARY KEY,
    biller_id text NOT NULL CONSTRAINT fk_accounts_biller_id_billers REFERENCES billers,
    account_number text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    looked_up_at timestamptz,
    CONSTRAINT uq_accounts_biller_id_account_number UNIQUE (biller_id, account_number)
);
CREATE TABLE bills (
    id uuid CONSTRAINT pk_bills PRIMARY KEY,
    account_id uuid NOT NULL CONSTRAINT fk_bills_account_id_accounts REFERENCES accounts,
    bill_number text NOT NULL,
    period text NOT NULL,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    rule text NOT NULL,
    min_minor bigint,
    max_minor bigint,
    multiple_minor bigint,
    due_on date,
    expires_at timestamptz NOT NULL,
    closed_at timestamptz,
    looked_up_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT uq_bills_account_id_bill_number UNIQUE (account_id, bill_number),
    CONSTRAINT ck_bills_amount_is_not_negative CHECK (amount_minor >= 0),
    CONSTRAINT ck_bills_rule_is_declared CHECK (rule IN ('exact', 'at_least', 'at_most', 'range', 'any')),
    CONSTRAINT ck_bills_range_has_bounds CHECK (
        rule <> 'range' OR (min_minor IS NOT NULL AND max_minor IS NOT NULL AND min_minor <= max_minor)),
    CONSTRAINT ck_bills_multiple_is_positive CHECK (multiple_minor > 0)
);
CREATE TABLE lookups (
    id uuid CONSTRAINT pk_lookups PRIMARY KEY,
    channel_id text NOT NULL,
    account_id uuid NOT NULL CONSTRAINT fk_lookups_account_id_accounts REFERENCES accounts,
    state text NOT NULL,
    reason text,
    bill_ids uuid[],
    version integer NOT NULL DEFAULT 0,
    correlation_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    taken_at timestamptz NOT NULL DEFAULT now(),
    finished_at timestamptz,
    CONSTRAINT ck_lookups_state_is_declared CHECK (
        state IN ('pending', 'found', 'nothing_owed', 'no_such_account', 'failed')),
    CONSTRAINT ck_lookups_finished_when_not_pending CHECK ((state = 'pending') = (finished_at IS NULL)),
    CONSTRAINT ck_lookups_bills_when_found CHECK ((state = 'found') = (bill_ids IS NOT NULL))
);
CREATE INDEX ix_lookups_pending ON lookups (taken_at) WHERE state = 'pending';
GRANT SELECT, INSERT ON accounts, bills, lookups TO billing_app;
GRANT UPDATE (looked_up_at) ON accounts TO billing_app;
GRANT UPDATE (period, amount_minor, currency, rule, min_minor, max_minor, multiple_minor, due_on, expires_at, closed_at,
    looked_up_at) ON bills TO billing_app;
GRANT UPDATE (state, reason, bill_ids, version, taken_at, finished_at) ON lookups TO billing_app;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for table in ("lookups", "bills", "accounts"):
        op.execute(f"DROP TABLE {table}")
