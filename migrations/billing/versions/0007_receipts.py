"""Receipts: added once, never rewritten; only voiding changes a row, and only its two columns."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE receipts (
    number text COLLATE "C" CONSTRAINT pk_receipts PRIMARY KEY,
    payment_id uuid NOT NULL,
    biller_id text NOT NULL,
    account_id uuid NOT NULL,
    bill_number text NOT NULL,
    period text NOT NULL,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    issued_at timestamptz NOT NULL,
    voided_at timestamptz,
    void_reason text,
    CONSTRAINT ck_receipts_number_has_24_characters CHECK (length(number) = 24),
    CONSTRAINT ck_receipts_amount_is_positive CHECK (amount_minor > 0),
    CONSTRAINT ck_receipts_voided_with_a_reason CHECK ((voided_at IS NULL) = (void_reason IS NULL)),
    CONSTRAINT ck_receipts_void_reason_is_declared CHECK (void_reason IN ('refunded', 'reversed'))
);

-- Append-only by privilege, column by column: a receipt that is born void is refused, too.
GRANT SELECT,
    INSERT (number, payment_id, biller_id, account_id, bill_number, period, amount_minor, currency, issued_at),
    UPDATE (voided_at, void_reason) ON receipts TO billing_app;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE receipts")
