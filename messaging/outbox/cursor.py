"""For SQL of others: which rows of the outbox wait for publication, and the lock of the relay that leads."""

# One lock for each outbox, since a table's oid is unique in its database.
OUTBOX_LOCK = (
    "(CAST(x'4d48' AS bigint) << 40) + CAST(CAST(CAST('outbox' AS regclass) AS oid) AS bigint)"
)

# Of the outbox: what a cursor `at` (prev, cur, last_id) does not count as published. Bounded above as well, though
# nothing is beyond: of a lower bound alone, which it can't know, the planner expects a third of the table to be above
# it, and reads all of it.
UNPUBLISHED = """
    (xid >= (SELECT pg_snapshot_xmax(prev) FROM at) AND xid < CAST('18446744073709551615' AS xid8)
        OR xid = ANY(ARRAY(SELECT pg_snapshot_xip(prev) FROM at)))
    AND NOT (id <= (SELECT last_id FROM at) AND coalesce(pg_visible_in_snapshot(xid, (SELECT cur FROM at)), false))
"""
