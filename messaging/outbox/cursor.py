"""For the SQL of other rooms: the condition of unpublished rows, and the lock of the leading relay."""

# One lock for each outbox: a table's oid is unique in its database.
OUTBOX_LOCK = (
    "(CAST(x'4d48' AS bigint) << 40) + CAST(CAST(CAST('outbox' AS regclass) AS oid) AS bigint)"
)

# The rows that a cursor `at` (prev, cur, last_id) does not count as published. There is an upper bound as well,
# although no row is above it: with a lower bound alone, whose value it does not know, the planner expects a third of
# the table to be above it, and reads all of it.
UNPUBLISHED = """
    (xid >= (SELECT pg_snapshot_xmax(prev) FROM at) AND xid < CAST('18446744073709551615' AS xid8)
        OR xid = ANY(ARRAY(SELECT pg_snapshot_xip(prev) FROM at)))
    AND NOT (id <= (SELECT last_id FROM at) AND coalesce(pg_visible_in_snapshot(xid, (SELECT cur FROM at)), false))
"""
