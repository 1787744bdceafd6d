"""The DDL of errands, for the migrations of each service: `create_errands(op, app_role)` in upgrade().

tables.py explains the columns.
"""

from typing import Any

_CREATE = """
CREATE TABLE errands (
    kind varchar(64) NOT NULL,
    subject uuid NOT NULL,
    institution varchar(64) NOT NULL,
    leg varchar(64) NOT NULL,
    leg_since timestamptz NOT NULL DEFAULT now(),
    fence bigint NOT NULL DEFAULT 0,
    contested boolean NOT NULL DEFAULT false,
    tries integer NOT NULL DEFAULT 0,
    unknown_since timestamptz,
    sent_at timestamptz,
    attempt integer NOT NULL DEFAULT 1,
    held boolean NOT NULL DEFAULT false,
    due_at timestamptz NOT NULL DEFAULT now(),
    CONSTRAINT pk_errands PRIMARY KEY (kind, subject),
    CONSTRAINT ck_errands_counts_up CHECK (tries >= 0 AND attempt > 0 AND fence >= 0),
    CONSTRAINT ck_errands_unknown_was_sent CHECK (unknown_since IS NULL OR sent_at IS NOT NULL)
) WITH (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.02, autovacuum_vacuum_threshold = 1000);
CREATE INDEX ix_errands_institution_due_at ON errands (institution, due_at);
CREATE TABLE paused_institutions (
    institution varchar(64) CONSTRAINT pk_paused_institutions PRIMARY KEY,
    note varchar(200) NOT NULL DEFAULT '',
    paused_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT, UPDATE, DELETE ON errands, paused_institutions TO {role}
"""


def create_errands(op: Any, app_role: str) -> None:
    """Create both tables in the migration's current schema, with what `app_role` needs."""
    for statement in _CREATE.format(role=app_role).split(";\n"):
        op.execute(statement)


def drop_errands(op: Any) -> None:
    """Drop both tables."""
    op.execute("DROP TABLE errands")
    op.execute("DROP TABLE paused_institutions")
