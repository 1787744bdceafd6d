"""The ledger: accounts with balances, transfers that the application can only add, holds."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TABLES = """
-- A balance changes in place: room for the new version on the same page.
CREATE TABLE ledger_accounts (
    id bigint GENERATED ALWAYS AS IDENTITY CONSTRAINT pk_ledger_accounts PRIMARY KEY,
    address text NOT NULL,
    currency char(3) NOT NULL,
    no_overdraft boolean NOT NULL,
    balance_minor bigint NOT NULL DEFAULT 0,
    held_minor bigint NOT NULL DEFAULT 0,
    CONSTRAINT uq_ledger_accounts_address_currency UNIQUE (address, currency),
    CONSTRAINT ck_ledger_accounts_held_is_not_negative CHECK (held_minor >= 0),
    CONSTRAINT ck_ledger_accounts_no_overdraft CHECK (NOT no_overdraft OR balance_minor >= held_minor)
) WITH (fillfactor = 70);

-- No foreign keys to the accounts: posting updates both in the same transaction and fails when one is not there (see
-- docs/decisions/0007-no-foreign-keys-on-the-hot-path.md).
CREATE TABLE transfers (
    id uuid CONSTRAINT pk_transfers PRIMARY KEY,
    kind text NOT NULL,
    debit_account bigint NOT NULL,
    credit_account bigint NOT NULL,
    amount_minor bigint NOT NULL,
    currency char(3) NOT NULL,
    corrects uuid CONSTRAINT fk_transfers_corrects_transfers REFERENCES transfers,
    occurred_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT ck_transfers_amount_is_positive CHECK (amount_minor > 0),
    CONSTRAINT ck_transfers_two_accounts CHECK (debit_account <> credit_account),
    CONSTRAINT ck_transfers_kind_is_declared CHECK (kind IN (
        'top_up', 'pay_bill', 'refund', 'reversal', 'psp_fee', 'psp_settlement', 'remittance', 'adjustment'))
);
CREATE INDEX ix_transfers_debit_account_id ON transfers (debit_account, id);
CREATE INDEX ix_transfers_credit_account_id ON transfers (credit_account, id);
-- What an entry costs is paid by every payment: few transfers correct another, and time needs a summary per block only.
CREATE INDEX ix_transfers_corrects ON transfers (corrects) WHERE corrects IS NOT NULL;
CREATE INDEX ix_transfers_occurred_at ON transfers USING brin (occurred_at) WITH (pages_per_range = 32);

CREATE TABLE holds (
    id uuid CONSTRAINT pk_holds PRIMARY KEY,
    account bigint NOT NULL CONSTRAINT fk_holds_account_ledger_accounts REFERENCES ledger_accounts,
    amount_minor bigint NOT NULL,
    state text NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    CONSTRAINT ck_holds_amount_is_positive CHECK (amount_minor > 0),
    CONSTRAINT ck_holds_state_is_declared CHECK (state IN ('pending', 'posted', 'voided')),
    CONSTRAINT ck_holds_ended_when_not_pending CHECK ((state = 'pending') = (ended_at IS NULL))
);

-- Append-only by privilege: columns, not the table, so that a forged created_at is refused, too.
GRANT SELECT, INSERT (id, kind, debit_account, credit_account, amount_minor, currency, corrects, occurred_at)
    ON transfers TO billing_app;
GRANT SELECT, INSERT (address, currency, no_overdraft), UPDATE (balance_minor, held_minor)
    ON ledger_accounts TO billing_app;
GRANT SELECT, INSERT (id, account, amount_minor, state), UPDATE (state, ended_at) ON holds TO billing_app;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE holds")
    op.execute("DROP TABLE transfers")
    op.execute("DROP TABLE ledger_accounts")
