"""A catalogue is imported whole, again without an effect, and takes away what it no longer says."""

import asyncio
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.billing.catalog import (
    Catalogue,
    CatalogueImported,
    find,
    find_billers,
    import_catalogue,
)
from services.billing.catalog.divisions import read_divisions
from services.billing.catalog.import_file import Counts
from services.billing.catalog.read_file import read_lines
from tests.services.billing.catalog.rows import biller, coverage, good, lines, read_rows, service


async def import_(engine: AsyncEngine, catalogue: Catalogue, **more: bool) -> CatalogueImported:
    async with engine.begin() as connection:
        return await import_catalogue(connection, catalogue, **more)


async def rows(engine: AsyncEngine, select: str) -> list[tuple[Any, ...]]:
    async with engine.connect() as connection:
        return [tuple(row) for row in await connection.execute(text(select))]


CITY = (biller(), service(), coverage(), coverage(division_code="330200"))


async def test_importing_twice_changes_nothing_and_says_so(engine: AsyncEngine) -> None:
    first = await import_(engine, good(*CITY))
    assert first.divisions_written == 368
    assert (first.billers, first.services) == (Counts(1, 0, 0), Counts(1, 0, 0))
    assert first.coverage == Counts(2, 0, 0)
    assert not first.changed_nothing
    state = "SELECT xmin, id FROM billers UNION ALL SELECT xmin, id FROM services"
    before = await rows(engine, state)
    again = await import_(engine, good(*CITY), prune=True)
    assert again.changed_nothing
    assert (again.billers, again.services) == (Counts(0, 0, 1), Counts(0, 0, 1))
    assert again.coverage == Counts(0, 0, 2)
    assert await rows(engine, state) == before, "rows were written again"


async def test_a_new_file_updates_rows_and_deletes_those_it_no_longer_lists(
    engine: AsyncEngine,
) -> None:
    await import_(engine, good(*CITY, service("hz-water-inquiry"), coverage("hz-water-inquiry")))
    changed = biller(name_en="Hangzhou Waterworks", timeout_ms=900)
    imported = await import_(engine, good(changed, service(), coverage(division_code="330200")))
    assert imported.billers == Counts(0, 1, 0)
    assert imported.services == Counts(0, 0, 1, removed=1)
    assert imported.coverage == Counts(0, 0, 1, removed=2)
    assert await rows(engine, "SELECT name_en, timeout_ms, active FROM billers") == [
        ("Hangzhou Waterworks", 900, True)
    ]
    assert await rows(engine, "SELECT service_id, division_code FROM coverage") == [
        ("hz-water-bill", "330200")
    ]


async def test_a_biller_that_is_gone_stays_until_it_is_pruned_and_is_never_deleted(
    engine: AsyncEngine,
) -> None:
    other = (biller("nb-gas"), service("nb-gas-bill", "nb-gas"), coverage("nb-gas-bill"))
    await import_(engine, good(*CITY, *other))
    kept = await import_(engine, good(*CITY))
    assert kept.changed_nothing, "another biller's services are none of this file's business"
    pruned = await import_(engine, good(*CITY), prune=True)
    assert pruned.billers == Counts(0, 0, 1, removed=1)
    assert await rows(engine, "SELECT id, active FROM billers ORDER BY id") == [
        ("hz-water", True),
        ("nb-gas", False),
    ]
    assert (await import_(engine, good(*CITY), prune=True)).changed_nothing
    back = await import_(engine, good(*CITY, *other))
    assert back.billers == Counts(0, 1, 1), "a biller that comes back is active again"


async def test_with_bad_rows_left_out_nothing_is_taken_away(engine: AsyncEngine) -> None:
    await import_(engine, good(*CITY))
    catalogue, errors = read_rows(biller(), service(), coverage(division_code="000000"))
    assert errors
    imported = await import_(engine, catalogue, complete=False)
    assert imported.changed_nothing
    assert len(await rows(engine, "SELECT service_id FROM coverage")) == 2


async def test_a_failing_import_leaves_nothing(engine: AsyncEngine) -> None:
    async with engine.connect() as connection, connection.begin() as transaction:
        await import_catalogue(connection, good(*CITY))
        await transaction.rollback()
    assert await rows(engine, "SELECT id FROM billers") == []


async def test_two_imports_at_once_agree_with_one_of_them(engine: AsyncEngine) -> None:
    one, two = good(*CITY), good(biller(), service(), coverage(division_code="330300"))
    await asyncio.gather(*(import_(engine, each) for each in (one, two) * 4))
    covered = {row[0] for row in await rows(engine, "SELECT division_code FROM coverage")}
    assert covered in ({"330100", "330200"}, {"330300"})


async def test_a_country_is_imported_in_one_go(engine: AsyncEngine) -> None:
    """20,000 rows: what a national network has."""
    provinces = [each for each in read_divisions().values() if each.level == 2][:100]
    many = []
    for n in range(190):
        many += [biller(f"b-{n}"), service(f"s-{n}", f"b-{n}")]
        many += [coverage(f"s-{n}", each.code) for each in provinces]
    catalogue, errors = read_lines(lines(*many))
    assert not errors
    imported = await import_(engine, catalogue)
    assert imported.coverage == Counts(19_000, 0, 0)
    assert (await import_(engine, catalogue, prune=True)).changed_nothing


async def test_billers_and_totals_are_found(engine: AsyncEngine) -> None:
    beijing = (biller("bj"), service("bj-bill", "bj"), coverage("bj-bill", "110100"))
    league = (biller("xa"), service("xa-bill", "xa"), coverage("xa-bill", "152200"))
    province = (biller("gd"), service("gd-bill", "gd"), coverage("gd-bill", "440000"))
    off = (biller("off", active=False), service("off-b", "off"), coverage("off-b", "510100"))
    await import_(engine, good(*CITY, *beijing, *league, *province, *off))
    async with engine.connect() as connection:
        found = await find_billers(connection, ["bj", "nobody", "off"])
        totals = await find.totals(connection)
        services = await find.services_of(connection, ["gd", "hz-water"])
        assert await find_billers(connection, []) == {}
    assert {id: each.active for id, each in found.items()} == {"bj": True, "off": False}
    # Beijing is a province and no city, the league is no city, Guangdong has 21, and what is off counts for nothing.
    assert (totals.billers, totals.active_billers) == (5, 4)
    assert (totals.provinces, totals.cities) == (4, 2 + 21)
    assert [(each.id, each.provinces, each.prefectures) for each in services["gd"]] == [
        ("gd-bill", 1, 21)
    ]
    assert [(each.provinces, each.prefectures) for each in services["hz-water"]] == [(1, 2)]
