"""The outbox's tables, for the migrations of each service: `create_outbox(op, app_role)` in upgrade().

The application's role may insert (column by column) and read, nothing else; the relay moves the cursor. Two functions
that run with the owner's rights create and drop partitions, so that no process needs DDL rights.
"""

from typing import Any

from sqlalchemy import text


def create_outbox(op: Any, app_role: str) -> None:
    """Create the outbox in the migration's current schema, with the least rights for `app_role`."""
    bind = op.get_bind()
    schema = bind.scalar(text("SELECT current_schema()"))
    for statement in (*_TABLES, *_FUNCTIONS, *_GRANTS):
        bind.exec_driver_sql(statement.replace("{schema}", schema).replace("{role}", app_role))


def add_signature(op: Any, app_role: str) -> None:
    """Add the column `signature` to an outbox that was created without it; else change nothing."""
    op.execute("ALTER TABLE outbox ADD COLUMN IF NOT EXISTS signature varchar(200)")
    op.execute(f"GRANT INSERT (signature) ON outbox TO {app_role}")


def bound_texts(op: Any) -> None:
    """Add the bounds of tables.py to the texts of an outbox that was created without them; else change nothing.

    A traceparent or correlation id that is too long is dropped: it is optional, and a cut id would be another id.
    """
    op.execute("""
        ALTER TABLE outbox ALTER COLUMN key TYPE varchar(200), ALTER COLUMN type TYPE varchar(100),
            ALTER COLUMN traceparent TYPE varchar(55)
                USING CASE WHEN length(traceparent) <= 55 THEN traceparent END,
            ALTER COLUMN correlation_id TYPE varchar(128)
                USING CASE WHEN length(correlation_id) <= 128 THEN correlation_id END
    """)
    op.execute("ALTER TABLE outbox_cursor ALTER COLUMN owner TYPE varchar(300)")


def drop_outbox(op: Any) -> None:
    """Drop the outbox, for downgrade()."""
    op.execute("DROP FUNCTION outbox_ensure_partitions(integer), outbox_drop_partitions(integer)")
    op.execute("DROP TABLE outbox_cursor, outbox")
    op.execute("DROP SEQUENCE outbox_id_seq")


_TABLES = (
    # CACHE 1: a session that draws ids ahead would break the order of a key that two sessions write.
    "CREATE SEQUENCE outbox_id_seq CACHE 1",
    # The size excludes messages that Kafka could refuse (1 MiB for a batch), because a refused record stops the relay.
    # raw is JSON with base64, so three of its four bytes count.
    """
    CREATE TABLE outbox (
        id bigint NOT NULL DEFAULT nextval('outbox_id_seq'),
        xid xid8 NOT NULL DEFAULT pg_current_xact_id(),
        created_at timestamptz NOT NULL DEFAULT now(),
        event_id uuid NOT NULL,
        sequence integer NOT NULL,
        topic smallint NOT NULL,
        key varchar(200) NOT NULL,
        type varchar(100) NOT NULL,
        payload bytea,
        traceparent varchar(55),
        correlation_id varchar(128),
        raw bytea,
        signature varchar(200),
        CONSTRAINT pk_outbox PRIMARY KEY (id, created_at),
        CONSTRAINT ck_outbox_size CHECK (
            octet_length(payload) <= 900000
            AND octet_length(key) + octet_length(type) + coalesce(octet_length(traceparent), 0)
                + coalesce(octet_length(correlation_id), 0) <= 2000
            AND (raw IS NULL OR coalesce(octet_length(payload), 0) + octet_length(raw) * 3 / 4 <= 1020000))
    ) PARTITION BY RANGE (created_at)
    """,
    "CREATE INDEX ix_outbox_xid_id ON outbox (xid, id)",
    # Published are all rows visible in prev, and in the window (prev, cur) the ids up to last_id. high_id is the
    # highest id ever sent; cluster is the database cluster of these transaction ids, so that a restored copy is
    # noticed. One row, updated up to twenty times a second: free space on its page keeps the updates off the index.
    """
    CREATE TABLE outbox_cursor (
        shard smallint NOT NULL CONSTRAINT pk_outbox_cursor PRIMARY KEY,
        prev pg_snapshot NOT NULL,
        cur pg_snapshot,
        last_id bigint NOT NULL DEFAULT 0,
        high_id bigint NOT NULL DEFAULT 0,
        epoch bigint NOT NULL DEFAULT 0,
        cluster bigint,
        owner varchar(300),
        updated_at timestamptz
    ) WITH (fillfactor = 20)
    """,
    # No row is visible in this snapshot, so the first window has every row.
    "INSERT INTO outbox_cursor (shard, prev) VALUES (0, CAST('1:1:' AS pg_snapshot))",
)

# ATTACH takes a weaker lock than CREATE ... PARTITION OF, so writers go on. DETACH and DROP wait no longer than
# lock_timeout, because other sessions queue up behind them. pg_temp is last, or a temporary table could take the
# place of ours.
_FUNCTIONS = (
    """
    CREATE FUNCTION outbox_ensure_partitions(days_ahead integer) RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET lock_timeout = '2s' AS $$
    DECLARE
        today date := (now() AT TIME ZONE 'UTC')::date;
        created integer := 0;
        part text;
    BEGIN
        PERFORM pg_advisory_xact_lock('{schema}.outbox'::regclass::oid::bigint);
        FOR day IN 0 .. least(days_ahead, 366) LOOP
            part := to_char(today + day, '"outbox_p"YYYYMMDD');
            IF to_regclass('{schema}.' || part) IS NULL THEN
                EXECUTE format('CREATE TABLE {schema}.%I (LIKE {schema}.outbox INCLUDING ALL)', part);
                EXECUTE format(
                    'ALTER TABLE {schema}.outbox ATTACH PARTITION {schema}.%I FOR VALUES FROM (%L) TO (%L)',
                    part, to_char(today + day, 'YYYY-MM-DD" 00:00:00+00"'),
                    to_char(today + day + 1, 'YYYY-MM-DD" 00:00:00+00"'));
                created := created + 1;
            END IF;
        END LOOP;
        RETURN created;
    END $$
    """,
    """
    CREATE FUNCTION outbox_drop_partitions(retention_days integer) RETURNS SETOF text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, {schema}, pg_temp SET lock_timeout = '300ms' AS $$
    DECLARE
        today date := (now() AT TIME ZONE 'UTC')::date;
        published xid8 := (SELECT min(pg_snapshot_xmin(prev)::text::numeric)::text::xid8 FROM {schema}.outbox_cursor);
        newest xid8;
        part text;
    BEGIN
        PERFORM pg_advisory_xact_lock('{schema}.outbox'::regclass::oid::bigint);
        FOR part IN
            SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
            WHERE i.inhparent = '{schema}.outbox'::regclass
            AND c.relname < to_char(today - greatest(retention_days, 1), '"outbox_p"YYYYMMDD')
            ORDER BY c.relname
        LOOP
            EXECUTE format('SELECT xid FROM {schema}.%I ORDER BY xid DESC LIMIT 1', part) INTO newest;
            CONTINUE WHEN newest >= published;
            EXECUTE format('ALTER TABLE {schema}.outbox DETACH PARTITION {schema}.%I', part);
            EXECUTE format('DROP TABLE {schema}.%I', part);
            RETURN NEXT part;
        END LOOP;
    END $$
    """,
    "SELECT outbox_ensure_partitions(7)",
)

_GRANTS = (
    "REVOKE ALL ON FUNCTION outbox_ensure_partitions(integer), outbox_drop_partitions(integer) FROM PUBLIC",
    "GRANT EXECUTE ON FUNCTION outbox_ensure_partitions(integer), outbox_drop_partitions(integer) TO {role}",
    "GRANT USAGE ON SEQUENCE outbox_id_seq TO {role}",
    """GRANT SELECT, INSERT (event_id, topic, key, sequence, type, payload, traceparent, correlation_id, raw,
    signature) ON outbox TO {role}""",
    """GRANT SELECT, UPDATE (prev, cur, last_id, high_id, epoch, cluster, owner, updated_at)
    ON outbox_cursor TO {role}""",
)
