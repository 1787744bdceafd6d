"""The cost of reading the table and of a claim depends on the rows returned, not on the length of the backlog."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errands import queue
from tests.errands.errand_rows import PSP, add, execute


class TestReadDueAndPaused:
    async def test_institutions_with_due_errands_and_paused_ones_are_returned(
        self, engine: AsyncEngine
    ) -> None:
        for name, due_in in (("biller:a", 0.0), ("biller:a", -5.0), ("biller:b", 50.0), (PSP, -1)):
            await add(engine, name, due_in=due_in)
        await execute(
            engine, "INSERT INTO paused_institutions (institution) VALUES ('biller:c'), ('psp')"
        )
        async with engine.connect() as connection:
            found = await queue.read_due_and_paused(connection)
        assert sorted(found) == [("biller:a", False), ("biller:c", True), ("psp", True)]

    async def test_an_empty_table(self, engine: AsyncEngine) -> None:
        async with engine.connect() as connection:
            assert await queue.read_due_and_paused(connection) == []

    async def test_the_cost_of_a_look_does_not_grow_with_the_backlog(
        self, engine: AsyncEngine, owner_engine: AsyncEngine
    ) -> None:
        fill = """
            INSERT INTO errands (kind, subject, institution, leg, due_at)
            SELECT 'payment', gen_random_uuid(), 'biller:' || n % 3, 'apply', now() - n * interval '1 millisecond'
            FROM generate_series(1, :rows) AS n
        """
        await execute(owner_engine, fill, rows=1_000)
        await analyze(owner_engine)
        few = await plan_of_read_due_and_paused(engine)
        await execute(owner_engine, fill, rows=49_000)
        await analyze(owner_engine)
        many = await plan_of_read_due_and_paused(engine)
        assert "Seq Scan on errands" not in many.accesses
        assert "ix_errands_institution_due_at" in many.accesses
        assert many.rows <= 20, "a few rows for each institution"
        assert many.pages <= 2 * few.pages + 20
        async with engine.connect() as connection:
            assert {each.institution for each in await queue.read_due_and_paused(connection)} == {
                "biller:0",
                "biller:1",
                "biller:2",
            }

    async def test_a_claim_reads_only_the_rows_that_it_claims(
        self, engine: AsyncEngine, owner_engine: AsyncEngine
    ) -> None:
        await execute(
            owner_engine,
            """
            INSERT INTO errands (kind, subject, institution, leg, due_at)
            SELECT 'payment', gen_random_uuid(), 'biller:' || n % 3, 'apply', now() - n * interval '1 millisecond'
            FROM generate_series(1, 50000) AS n
            """,
        )
        await analyze(owner_engine)
        wanted = {
            "institutions": ["biller:0"],
            "places": [8],
            "lease": 60.0,
            "kinds": ["payment"],
        }
        plan = await explain(engine, str(queue._CLAIM), wanted)
        assert "Seq Scan on errands" not in plan.accesses
        assert plan.pages < 400


class Plan:
    """The result of EXPLAIN (ANALYZE, BUFFERS): index and table accesses, pages read, and the most rows of a node."""

    def __init__(self, root: dict[str, Any]) -> None:
        nodes = list(_nodes(root))
        self.accesses = " ".join(
            f"{each['Node Type']} on {each.get('Relation Name')} by {each.get('Index Name')}"
            for each in nodes
        )
        self.pages = root["Shared Hit Blocks"] + root["Shared Read Blocks"]
        self.rows = max(
            each["Actual Rows"] * each["Actual Loops"]
            for each in nodes
            if each.get("Relation Name") == "errands"
        )


def _nodes(node: dict[str, Any]) -> list[dict[str, Any]]:
    return [node, *(found for each in node.get("Plans", []) for found in _nodes(each))]


async def analyze(owner: AsyncEngine) -> None:
    async with owner.connect() as connection:
        autocommit = await connection.execution_options(isolation_level="AUTOCOMMIT")
        await autocommit.execute(text("VACUUM ANALYZE errands"))


async def plan_of_read_due_and_paused(engine: AsyncEngine) -> Plan:
    return await explain(engine, str(queue._DUE_AND_PAUSED), {})


async def explain(engine: AsyncEngine, statement: str, values: Mapping[str, Any]) -> Plan:
    async with engine.begin() as connection:
        found = await connection.scalar(
            text(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"), values
        )
        root = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
        await connection.rollback()
        return Plan(root)
