"""Reconciliation: statements and their lines, matches, breaks."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE statements (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_statements PRIMARY KEY,
    source text NOT NULL,
    source_id text NOT NULL,
    day date NOT NULL,
    version integer NOT NULL,
    content_hash bytea NOT NULL,
    lines integer NOT NULL,
    totals jsonb NOT NULL,
    imported_at timestamptz NOT NULL DEFAULT now(),
    superseded_at timestamptz,
    judged_at timestamptz,
    CONSTRAINT uq_statements_source_source_id_day_version UNIQUE (source, source_id, day, version),
    CONSTRAINT ck_statements_source_is_declared CHECK (source IN ('psp', 'biller'))
);
CREATE UNIQUE INDEX uq_statements_current ON statements (source, source_id, day) WHERE superseded_at IS NULL;

CREATE TABLE statement_lines (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_statement_lines PRIMARY KEY,
    statement_id bigint NOT NULL CONSTRAINT fk_statement_lines_statement_id_statements REFERENCES statements,
    kind text NOT NULL,
    reference text NOT NULL,
    our_id uuid,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    occurred_at timestamptz NOT NULL,
    raw jsonb NOT NULL,
    CONSTRAINT ck_statement_lines_kind_is_declared CHECK (kind IN (
        'charge', 'refund', 'refund_failure', 'fee', 'payout', 'apply', 'unapply', 'other'))
);
CREATE INDEX ix_statement_lines_statement_id ON statement_lines (statement_id);

CREATE TABLE matches (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_matches PRIMARY KEY,
    source text NOT NULL,
    head bigint NOT NULL CONSTRAINT fk_matches_head_statement_lines REFERENCES statement_lines,
    line_id bigint CONSTRAINT fk_matches_line_id_statement_lines REFERENCES statement_lines,
    transfer_id uuid CONSTRAINT fk_matches_transfer_id_transfers REFERENCES transfers,
    rule text NOT NULL,
    matched_at timestamptz NOT NULL DEFAULT now(),
    released_at timestamptz,
    CONSTRAINT ck_matches_rule_is_declared CHECK (rule IN ('reference', 'netted')),
    CONSTRAINT ck_matches_consumes_something CHECK (line_id IS NOT NULL OR transfer_id IS NOT NULL)
);
CREATE UNIQUE INDEX uq_matches_line_once ON matches (line_id) WHERE released_at IS NULL AND line_id IS NOT NULL;
CREATE UNIQUE INDEX uq_matches_transfer_once ON matches (transfer_id, source)
    WHERE released_at IS NULL AND transfer_id IS NOT NULL;
CREATE INDEX ix_matches_head ON matches (head);
CREATE INDEX ix_matches_released_line ON matches (line_id) WHERE released_at IS NOT NULL;

CREATE TABLE breaks (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_breaks PRIMARY KEY,
    source text NOT NULL,
    source_id text NOT NULL,
    day date NOT NULL,
    type text NOT NULL,
    kind text NOT NULL,
    reference text NOT NULL,
    ordinal integer NOT NULL,
    line_id bigint CONSTRAINT fk_breaks_line_id_statement_lines REFERENCES statement_lines,
    transfer_id uuid CONSTRAINT fk_breaks_transfer_id_transfers REFERENCES transfers,
    theirs_minor bigint,
    theirs_currency char(3),
    ours_minor bigint,
    ours_currency char(3),
    state text NOT NULL DEFAULT 'open',
    opened_at timestamptz NOT NULL DEFAULT now(),
    reopened_at timestamptz,
    closed_at timestamptz,
    CONSTRAINT uq_breaks_source_source_id_kind_reference_type_ordinal
        UNIQUE (source, source_id, kind, reference, type, ordinal),
    CONSTRAINT ck_breaks_type_is_declared CHECK (type IN (
        'missing_external', 'missing_internal', 'amount', 'currency', 'duplicate', 'missing_statement')),
    CONSTRAINT ck_breaks_state_is_declared CHECK (state IN ('open', 'resolved')),
    CONSTRAINT ck_breaks_closed_when_resolved CHECK ((state = 'resolved') = (closed_at IS NOT NULL)),
    CONSTRAINT ck_breaks_has_its_sides CHECK (
        (theirs_minor IS NULL) = (type IN ('missing_external', 'missing_statement'))
        AND (ours_minor IS NOT NULL OR type IN ('missing_internal', 'duplicate', 'missing_statement')))
);
CREATE INDEX ix_breaks_open ON breaks (source, source_id, day) WHERE state = 'open';

-- Nothing here is ever deleted, and what a statement said can't be changed.
GRANT SELECT, INSERT (source, source_id, day, version, content_hash, lines, totals), UPDATE (superseded_at, judged_at)
    ON statements TO billing_app;
GRANT SELECT, INSERT (statement_id, kind, reference, our_id, amount_minor, currency, occurred_at, raw)
    ON statement_lines TO billing_app;
GRANT SELECT, INSERT (source, head, line_id, transfer_id, rule), UPDATE (released_at) ON matches TO billing_app;
GRANT SELECT, INSERT (source, source_id, day, type, kind, reference, ordinal, line_id, transfer_id, theirs_minor,
        theirs_currency, ours_minor, ours_currency),
    UPDATE (day, line_id, transfer_id, theirs_minor, theirs_currency, ours_minor, ours_currency, state, reopened_at,
        closed_at)
    ON breaks TO billing_app;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for table in ("breaks", "matches", "statement_lines", "statements"):
        op.execute(f"DROP TABLE {table}")
