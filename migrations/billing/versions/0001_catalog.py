"""The catalogue: divisions, billers, services, coverage."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_TABLES = """
CREATE TABLE divisions (
    code char(6) CONSTRAINT pk_divisions PRIMARY KEY,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    level smallint NOT NULL,
    parent char(6) CONSTRAINT fk_divisions_parent_divisions REFERENCES divisions,
    CONSTRAINT ck_divisions_level_and_parent CHECK ((level = 1) = (parent IS NULL) AND level IN (1, 2))
);
CREATE TABLE billers (
    id text CONSTRAINT pk_billers PRIMARY KEY,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    currency char(3) NOT NULL,
    settled_by text NOT NULL,
    connector jsonb NOT NULL,
    account_number_pattern text NOT NULL,
    account_number_hint_zh text NOT NULL,
    account_number_hint_en text NOT NULL,
    timeout_ms integer NOT NULL DEFAULT 5000,
    max_concurrency integer NOT NULL DEFAULT 32,
    active boolean NOT NULL DEFAULT true,
    CONSTRAINT ck_billers_id_is_a_slug CHECK (id ~ '^[a-z0-9][a-z0-9-]{0,39}$'),
    CONSTRAINT ck_billers_settled_by_is_declared CHECK (settled_by IN ('call', 'file')),
    CONSTRAINT ck_billers_timeout_is_sane CHECK (timeout_ms BETWEEN 100 AND 60000),
    CONSTRAINT ck_billers_concurrency_is_sane CHECK (max_concurrency BETWEEN 1 AND 1000)
);
CREATE TABLE services (
    id text CONSTRAINT pk_services PRIMARY KEY,
    biller_id text NOT NULL CONSTRAINT fk_services_biller_id_billers REFERENCES billers,
    category text NOT NULL,
    name_zh text NOT NULL,
    name_en text NOT NULL,
    CONSTRAINT ck_services_category_is_declared CHECK (
        category IN ('electricity', 'water', 'gas', 'heating', 'other'))
);
CREATE INDEX ix_services_biller_id ON services (biller_id);
CREATE TABLE coverage (
    service_id text NOT NULL CONSTRAINT fk_coverage_service_id_services REFERENCES services,
    division_code char(6) NOT NULL CONSTRAINT fk_coverage_division_code_divisions REFERENCES divisions,
    CONSTRAINT pk_coverage PRIMARY KEY (service_id, division_code)
);
CREATE INDEX ix_coverage_division_code ON coverage (division_code);
GRANT SELECT, INSERT ON divisions, billers, services, coverage TO billing_app;
GRANT UPDATE (name_zh, name_en, level, parent) ON divisions TO billing_app;
GRANT UPDATE (name_zh, name_en, currency, settled_by, connector, account_number_pattern, account_number_hint_zh,
    account_number_hint_en, timeout_ms, max_concurrency, active) ON billers TO billing_app;
GRANT UPDATE (biller_id, category, name_zh, name_en), DELETE ON services TO billing_app;
GRANT DELETE ON coverage TO billing_app;
"""


def upgrade() -> None:
    for statement in _TABLES.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    for table in ("coverage", "services", "billers", "divisions"):
        op.execute(f"DROP TABLE {table}")
