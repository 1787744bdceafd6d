"""Tables without indexes and keys while they are filled; all of them are restored afterwards."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from benchmarks.measured_city import Connection

# Runs the statements, several of them concurrently.
Run = Callable[[Sequence[str]], Awaitable[None]]

_INDEXES = """
    SELECT t.relname AS table, i.relname AS name, pg_get_indexdef(i.oid) AS definition, c.contype AS constraint
    FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN pg_class t ON t.oid = x.indrelid
    LEFT JOIN pg_constraint c ON c.conindid = i.oid AND c.contype IN ('p', 'u')
    WHERE t.relnamespace = CAST('billing' AS regnamespace) AND t.relname = ANY($1)
    ORDER BY pg_relation_size(t.oid) DESC, i.relname
"""
_FOREIGN_KEYS = """
    SELECT t.relname AS table, c.conname AS name, pg_get_constraintdef(c.oid) AS definition
    FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid JOIN pg_class r ON r.oid = c.confrelid
    WHERE c.contype = 'f' AND t.relnamespace = CAST('billing' AS regnamespace)
    AND (t.relname = ANY($1) OR r.relname = ANY($1))
    ORDER BY c.conname
"""
_EVERYTHING = """
    SELECT 'index ' || indexname AS name, indexdef AS definition FROM pg_indexes WHERE schemaname = 'billing'
    UNION ALL
    SELECT 'constraint ' || conname || ' of ' || CAST(conrelid AS regclass), pg_get_constraintdef(oid)
        || CASE WHEN convalidated THEN '' ELSE ' not valid' END
    FROM pg_constraint WHERE connamespace = CAST('billing' AS regnamespace)
    ORDER BY 1
"""


@asynccontextmanager
async def without_indexes(
    owner: Connection, tables: Sequence[str], run: Run
) -> AsyncIterator[None]:
    """Drop the indexes and keys of the tables meanwhile; raise RuntimeError if one is not restored as it was."""
    before = await owner.fetch(_EVERYTHING)
    indexes = await owner.fetch(_INDEXES, tables)
    keys = await owner.fetch(_FOREIGN_KEYS, tables)
    for key in keys:
        await owner.execute(f"ALTER TABLE {key['table']} DROP CONSTRAINT {key['name']}")
    for index in indexes:
        await owner.execute(
            f"ALTER TABLE {index['table']} DROP CONSTRAINT {index['name']}"
            if index["constraint"]
            else f"DROP INDEX {index['name']}"
        )
    yield
    await run([index["definition"] for index in indexes])
    for index in indexes:
        if index["constraint"]:
            kind = "PRIMARY KEY" if index["constraint"] == b"p" else "UNIQUE"
            await owner.execute(
                f"ALTER TABLE {index['table']} ADD CONSTRAINT {index['name']} {kind}"
                f" USING INDEX {index['name']}"
            )
    await run(
        [
            f"ALTER TABLE {key['table']} ADD CONSTRAINT {key['name']} {key['definition']}"
            for key in keys
        ]
    )
    if lost := set(before) ^ set(await owner.fetch(_EVERYTHING)):
        raise RuntimeError(f"indexes or constraints differ from before: {sorted(lost)}")
