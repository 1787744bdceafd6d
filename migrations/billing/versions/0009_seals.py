"""Seals of the ledger, and what the auditor needs to look at a span of time instead of everything."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE seals (
    since timestamptz CONSTRAINT pk_seals PRIMARY KEY,
    until timestamptz NOT NULL,
    transfers bigint NOT NULL,
    digest bytea NOT NULL,
    sealed_at timestamptz NOT NULL DEFAULT now(),
    judged_at timestamptz,
    faults integer NOT NULL DEFAULT 0,
    CONSTRAINT ck_seals_span_is_not_empty CHECK (until > since),
    CONSTRAINT ck_seals_digest_has_32_bytes CHECK (octet_length(digest) = 32)
);

CREATE TABLE sealed_sums (
    bucket integer CONSTRAINT pk_sealed_sums PRIMARY KEY,
    balance_minor bigint NOT NULL
);

-- Rows come in the order of time, so a summary for each megabyte finds a span, and costs a payment next to nothing.
CREATE INDEX ix_transfers_created_at ON transfers USING brin (created_at);
CREATE INDEX ix_holds_created_at ON holds USING brin (created_at);
CREATE INDEX ix_payments_created_at ON payments USING brin (created_at);
CREATE INDEX ix_refunds_created_at ON refunds USING brin (created_at);
CREATE INDEX ix_top_ups_created_at ON top_ups USING brin (created_at);
CREATE INDEX ix_receipts_issued_at ON receipts USING brin (issued_at);
CREATE INDEX ix_outbox_created_at ON outbox USING brin (created_at);
-- Of all holds few are pending, and a balance is compared with those.
CREATE INDEX ix_holds_pending ON holds (account) WHERE state = 'pending';

GRANT SELECT, INSERT (since, until, transfers, digest), UPDATE (judged_at, faults) ON seals TO billing_app;
GRANT SELECT, INSERT, UPDATE (balance_minor) ON sealed_sums TO billing_app;
"""

# Blocks that are new have no summary and are read by every search, until a vacuum comes by; that is too seldom for
# tables that only grow. Whoever is in the way (a vacuum) does it himself. A partition that is dropped meanwhile is an
# internal_error ("could not open relation").
_SUMMARIZE = """
CREATE FUNCTION summarize_new_blocks() RETURNS integer
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '300ms' AS $$
DECLARE
    index regclass;
    summarized integer := 0;
BEGIN
    FOR index IN
        SELECT i.indexrelid FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
        WHERE a.amname = 'brin' AND c.relkind = 'i' AND c.relnamespace = '{schema}'::regnamespace
    LOOP
        BEGIN
            summarized := summarized + brin_summarize_new_values(index);
        EXCEPTION WHEN lock_not_available OR undefined_table OR internal_error THEN
            CONTINUE;
        END;
    END LOOP;
    RETURN summarized;
END $$
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)
    schema = op.get_bind().exec_driver_sql("SELECT current_schema()").scalar()
    op.execute(_SUMMARIZE.replace("{schema}", str(schema)))
    op.execute("REVOKE ALL ON FUNCTION summarize_new_blocks() FROM PUBLIC")
    op.execute("GRANT EXECUTE ON FUNCTION summarize_new_blocks() TO billing_app")


def downgrade() -> None:
    op.execute("DROP FUNCTION summarize_new_blocks()")
    for index in (
        "ix_holds_pending",
        "ix_outbox_created_at",
        "ix_receipts_issued_at",
        "ix_top_ups_created_at",
        "ix_refunds_created_at",
        "ix_payments_created_at",
        "ix_holds_created_at",
        "ix_transfers_created_at",
    ):
        op.execute(f"DROP INDEX {index}")
    op.execute("DROP TABLE sealed_sums, seals")
