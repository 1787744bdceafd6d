"""The declared views are those that the migrations have created, are read-only, and are inlined by the planner."""

from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

import services.billing
from chassis.database import View


def declared() -> Iterator[View]:
    """Every view that stands in a room's tables.py."""
    for module in walk_packages(services.billing.__path__, "services.billing."):
        if module.name.endswith(".tables"):
            for value in vars(import_module(module.name)).values():
                if isinstance(value, View):
                    yield value


ID = "CAST('00000000-0000-7000-8000-000000000001' AS uuid)"
VIEWS = {each.name: each for each in declared()}


async def test_the_database_has_the_declared_views_and_no_others(owner_engine: AsyncEngine) -> None:
    async with owner_engine.connect() as connection:
        names = await connection.scalars(
            text("SELECT viewname FROM pg_views WHERE schemaname = 'billing'")
        )
        assert set(names) == VIEWS.keys()


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
async def test_a_view_is_as_it_is_declared(owner_engine: AsyncEngine, view: View) -> None:
    definition = text("SELECT pg_get_viewdef(CAST(:name AS regclass))")
    async with owner_engine.connect() as connection:
        await connection.execute(text(f"CREATE TEMP VIEW as_declared AS {view.query}"))
        migrated = await connection.scalar(definition, {"name": f"billing.{view.name}"})
        assert migrated == await connection.scalar(definition, {"name": "as_declared"})


@pytest.mark.parametrize("name", VIEWS)
async def test_the_application_may_only_read_it(engine: AsyncEngine, name: str) -> None:
    privileges = text("""
        SELECT privilege FROM unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE', 'TRUNCATE']) AS p (privilege)
        WHERE has_table_privilege(:name, privilege) OR
            privilege IN ('INSERT', 'UPDATE') AND has_any_column_privilege(:name, privilege)
    """)
    async with engine.connect() as connection:
        assert list(await connection.scalars(privileges, {"name": name})) == ["SELECT"]


@pytest.mark.parametrize(
    ("query", "index"),
    [
        (
            "SELECT 1 FROM unnest(ARRAY[gen_random_uuid()]) AS b (id)"
            " WHERE NOT EXISTS (SELECT FROM live_bills l WHERE l.bill_id = b.id)",
            "uq_payments_live_bill",
        ),
        (
            "SELECT 1 FROM unnest(ARRAY[gen_random_uuid()]) AS b (id)"
            " WHERE NOT EXISTS (SELECT FROM live_bills l WHERE l.bill_id = b.id AND l.paid)",
            "uq_payments_live_bill",
        ),
        (f"SELECT finished_at FROM finished_payments WHERE id = {ID}", "pk_payments"),
        ("SELECT name_zh FROM biller_terms WHERE id = 'x'", "pk_billers"),
        (f"SELECT ending FROM account_endings WHERE id = {ID}", "pk_accounts"),
        (f"SELECT bill_number FROM bill_numbers WHERE id = {ID}", "pk_bills"),
        (
            f"SELECT refund_id FROM refund_transfers WHERE transfer_id = {ID}",
            "uq_refunds_transfer_id",
        ),
        (
            f"SELECT top_up_id FROM top_up_transfers WHERE transfer_id = {ID}",
            "uq_top_ups_transfer_id",
        ),
        (f"SELECT kind FROM booked_transfers WHERE id = {ID}", "pk_transfers"),
        ("SELECT biller_id FROM biller_accounts WHERE id = 1", "pk_ledger_accounts"),
        ("SELECT id FROM open_channels WHERE id = 'x'", "pk_channels"),
    ],
)
async def test_the_planner_inlines_a_view(engine: AsyncEngine, query: str, index: str) -> None:
    async with engine.connect() as connection:
        # Of empty tables it would read all.
        await connection.execute(text("SET LOCAL enable_seqscan = off"))
        plan = "\n".join(await connection.scalars(text(f"EXPLAIN {query}")))
    assert index in plan, plan
