"""After a restore into another cluster: translate the outbox and its cursor to this cluster's transaction ids.

Run `python -m messaging.outbox.rebase SCHEMA` once, with the relays stopped and the owner's
METERHALL_OWNER_DATABASE_URL. Transaction ids mean nothing outside of the cluster that assigned them, so the relay
halts on a restored copy until this has run. Messages that were not published when the copy was taken are published
afterwards, in their order; the others are not.
"""

import asyncio
import os
import sys

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import connect
from messaging.outbox.cursor import OUTBOX_LOCK


class RelayRunsError(Exception):
    """A relay is running; stop it first."""


async def rebase(connection: AsyncConnection) -> int:
    """Rebase the outbox in the owner's transaction; return the number of unpublished messages.

    Raises RelayRunsError.
    """
    if not await connection.scalar(text(f"SELECT pg_try_advisory_xact_lock({OUTBOX_LOCK})")):
        raise RelayRunsError("a relay publishes this outbox: stop it first")
    # Writers would draw ids and transaction ids in between.
    await connection.execute(text("LOCK TABLE outbox IN SHARE ROW EXCLUSIVE MODE"))
    await connection.execute(_RETIRE)
    unpublished = await connection.execute(_RENEW)
    await connection.execute(_SEQUENCE)
    await connection.execute(_CURSOR)
    return unpublished.rowcount


# Comparing old ids with each other shows what the old cursor had not published, and is valid in any cluster.
_UNPUBLISHED_BEFORE = """
    NOT pg_visible_in_snapshot(xid, at.prev)
    AND NOT (id <= at.last_id AND coalesce(pg_visible_in_snapshot(xid, at.cur), false))
"""

# An old transaction id that this cluster has not reached yet would be published again when it is reached.
_RETIRE = text(f"""
    UPDATE outbox SET xid = '3' FROM outbox_cursor AS at
    WHERE shard = 0 AND NOT ({_UNPUBLISHED_BEFORE}) AND xid >= pg_snapshot_xmin(pg_current_snapshot())
""")  # noqa: S608

# Unpublished rows get this transaction's id: the cursor's new snapshot is taken inside of it and does not see it.
_RENEW = text(f"""
    UPDATE outbox SET xid = pg_current_xact_id() FROM outbox_cursor AS at WHERE shard = 0 AND {_UNPUBLISHED_BEFORE}
""")  # noqa: S608

# Logical replication copies rows and not sequences; new ids must be above all ids that were ever sent.
_SEQUENCE = text("""
    SELECT setval('outbox_id_seq', greatest(
        (SELECT last_value FROM outbox_id_seq), (SELECT max(id) FROM outbox), (SELECT max(high_id) FROM outbox_cursor)))
""")

_CURSOR = text("""
    UPDATE outbox_cursor SET prev = pg_current_snapshot(), cur = NULL, last_id = 0, epoch = epoch + 1, owner = NULL,
        cluster = (SELECT system_identifier FROM pg_control_system()), updated_at = now()
""")


async def _main(schema: str, url: str) -> None:
    # It may rewrite the whole outbox, once, while all processes are stopped.
    engine = connect(url, schema, pool_size=1, transaction_seconds=None)
    try:
        async with engine.begin() as connection:
            unpublished = await rebase(connection)
    finally:
        await engine.dispose()
    print(f"{schema}: the outbox is rebased, {unpublished} messages wait for the relay")


def main() -> None:
    url = os.environ.get("METERHALL_OWNER_DATABASE_URL")
    if len(sys.argv) != 2 or not url:
        sys.exit("usage: METERHALL_OWNER_DATABASE_URL=… python -m messaging.outbox.rebase SCHEMA")
    try:
        asyncio.run(_main(sys.argv[1], url))
    except RelayRunsError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()
