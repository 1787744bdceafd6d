"""Find billers, services and their coverage in the catalogue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_COLUMNS = """
    b.id, b.name_zh, b.name_en, b.currency, b.settled_by, b.account_number_pattern, b.account_number_hint_zh,
    b.account_number_hint_en, b.active
"""
_BILLERS = text(f"SELECT {_COLUMNS} FROM billers b WHERE b.id = ANY(CAST(:ids AS text[]))")  # noqa: S608
_CALLED = text("""
    SELECT id, currency, settled_by, connector, timeout_ms, max_concurrency, late_effect_seconds
    FROM billers WHERE id = :id
""")
_ALL = text(f"SELECT {_COLUMNS} FROM billers b ORDER BY b.id")  # noqa: S608
# A service that is offered in a province is offered in each of its prefectures, and a province has every service that
# one of its prefectures has.
_OFFERED = text(f"""
    SELECT {_COLUMNS} FROM billers b
    WHERE b.active AND b.id > :after
      AND (CAST(:category AS text) IS NULL AND CAST(:division AS text) IS NULL OR EXISTS (
        SELECT FROM services s WHERE s.biller_id = b.id
          AND (CAST(:category AS text) IS NULL OR s.category = :category)
          AND (CAST(:division AS text) IS NULL OR EXISTS (
            SELECT FROM coverage c WHERE c.service_id = s.id AND c.division_code = ANY (ARRAY(
                SELECT code FROM divisions WHERE code = :division OR parent = :division
                    OR code = (SELECT parent FROM divisions WHERE code = :division)))))))
    ORDER BY b.id LIMIT :limit
""")  # noqa: S608
_PLACES = """
    places (service_id, code, parent) AS (
        SELECT c.service_id, d.code, d.parent
        FROM coverage c JOIN divisions d ON d.code = c.division_code AND d.level = 2
        UNION ALL
        SELECT c.service_id, d.code, d.parent FROM coverage c JOIN divisions d ON d.parent = c.division_code)
"""
_SERVICES = text(f"""
    WITH {_PLACES}
    SELECT s.biller_id, s.id, s.category, s.name_zh, s.name_en,
        count(DISTINCT p.parent) AS provinces, count(DISTINCT p.code) AS prefectures
    FROM services s LEFT JOIN places p ON p.service_id = s.id
    WHERE s.biller_id = ANY(CAST(:billers AS text[]))
    GROUP BY s.id ORDER BY s.id
""")  # noqa: S608
_DIVISIONS = text(f"""
    WITH {_PLACES}
    SELECT d.code, d.name_zh, d.name_en, d.level, d.parent, count(DISTINCT b.id) AS billers
    FROM divisions d
    LEFT JOIN places p ON d.code = CASE WHEN CAST(:parent AS char(6)) IS NULL THEN p.parent ELSE p.code END
    LEFT JOIN services s ON s.id = p.service_id
    LEFT JOIN billers b ON b.id = s.biller_id AND b.active
    WHERE d.parent IS NOT DISTINCT FROM CAST(:parent AS char(6))
    GROUP BY d.code ORDER BY d.code
""")  # noqa: S608
# A municipality's stand-in among the prefectures has its province's name.
_TOTALS = text(f"""
    WITH {_PLACES}, offered AS (
        SELECT DISTINCT p.code, p.parent FROM places p
        JOIN services s ON s.id = p.service_id JOIN billers b ON b.id = s.biller_id AND b.active)
    SELECT (SELECT count(*) FROM billers) AS billers, (SELECT count(*) FROM billers WHERE active) AS active_billers,
        (SELECT count(*) FROM services) AS services, (SELECT count(*) FROM coverage) AS coverage,
        (SELECT count(DISTINCT parent) FROM offered) AS provinces,
        (SELECT count(*) FROM offered o JOIN divisions c ON c.code = o.code JOIN divisions p ON p.code = o.parent
            WHERE c.name_zh LIKE '%市' AND c.name_zh <> p.name_zh) AS cities
""")  # noqa: S608


@dataclass(frozen=True, slots=True)
class Biller:
    """A biller, without its connector's settings."""

    id: str
    name_zh: str
    name_en: str
    currency: str
    settled_by: Literal["call", "file"]
    account_number_pattern: str
    account_number_hint_zh: str
    account_number_hint_en: str
    active: bool


@dataclass(frozen=True, slots=True)
class CallTerms:
    """The terms of calls to a biller, for its connector.

    Until `late_effect_seconds` after a call its effect may come.
    """

    id: str
    currency: str
    settled_by: Literal["call", "file"]
    connector: Mapping[str, Any]
    timeout_ms: int
    max_concurrency: int
    late_effect_seconds: int


@dataclass(frozen=True, slots=True)
class Service:
    """A service of a biller, with the numbers of provinces and prefecture-level divisions that have it."""

    biller_id: str
    id: str
    category: str
    name_zh: str
    name_en: str
    provinces: int
    prefectures: int


@dataclass(frozen=True, slots=True)
class Offer:
    """A division and the number of active billers in it."""

    code: str
    name_zh: str
    name_en: str
    level: int
    parent: str | None
    billers: int


@dataclass(frozen=True, slots=True)
class Totals:
    """The catalogue in numbers; provinces and cities are those where an active biller offers something.

    `cities` are prefecture-level cities: neither prefectures and leagues (their names end otherwise) nor
    municipalities, which count as provinces.
    """

    billers: int
    active_billers: int
    services: int
    coverage: int
    provinces: int
    cities: int


async def find_billers(connection: AsyncConnection, ids: Sequence[str]) -> dict[str, Biller]:
    """Return the billers among these ids that the catalogue has, active or not, by id."""
    if not ids:
        return {}
    rows = await connection.execute(_BILLERS, {"ids": list(ids)})
    return {row.id: Biller(*row) for row in rows}


async def call_terms(connection: AsyncConnection, biller_id: str) -> CallTerms | None:
    """Return the terms of calls to this biller, active or not; None when the catalogue does not have it."""
    row = (await connection.execute(_CALLED, {"id": biller_id})).one_or_none()
    return CallTerms(*row) if row else None


async def all_billers(connection: AsyncConnection) -> list[Biller]:
    """Return every biller in the order of ids, active or not."""
    return [Biller(*row) for row in await connection.execute(_ALL)]


async def offered(
    connection: AsyncConnection,
    division: str | None,
    category: str | None,
    after: str = "",
    limit: int = 50,
) -> list[Biller]:
    """Return active billers after this id; only those that offer this category in this division, where given."""
    parameters = {"division": division, "category": category, "after": after, "limit": limit}
    return [Biller(*row) for row in await connection.execute(_OFFERED, parameters)]


async def services_of(
    connection: AsyncConnection, biller_ids: Sequence[str]
) -> dict[str, list[Service]]:
    """Return the services of each of these billers, by the biller's id."""
    found: dict[str, list[Service]] = {id: [] for id in biller_ids}
    for row in await connection.execute(_SERVICES, {"billers": list(biller_ids)}):
        found[row.biller_id].append(Service(*row))
    return found


async def divisions_in(connection: AsyncConnection, parent: str | None) -> list[Offer]:
    """Return the provinces, or the prefectures of one."""
    return [Offer(*row) for row in await connection.execute(_DIVISIONS, {"parent": parent})]


async def totals(connection: AsyncConnection) -> Totals:
    """Return the catalogue in numbers."""
    return Totals(*(await connection.execute(_TOTALS)).one())
