"""Import a catalogue: all of it in the caller's transaction, one statement per table and kind of change.

A file is complete for the billers that it names: services and coverage that it no longer lists are deleted. Billers
that it does not name stay as they are, or are deactivated with `prune`; none is ever deleted, because bills, receipts
and the ledger refer to them.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.catalog.divisions import write_divisions
from services.billing.catalog.read_file import Catalogue

# Two imports at once would delete each other's rows.
_ONE_AT_A_TIME = text("SELECT pg_advisory_xact_lock(hashtext('billing.catalog.import'))")

# `new` is true for an inserted row and false for a changed one; unchanged rows are not returned.
_BILLERS = text("""
    INSERT INTO billers AS b (id, name_zh, name_en, currency, settled_by, connector, account_number_pattern,
        account_number_hint_zh, account_number_hint_en, timeout_ms, late_effect_seconds, max_concurrency, active)
    SELECT id, zh, en, currency, settled_by, CAST(connector AS jsonb), pattern, hint_zh, hint_en, timeout, late,
        places, active
    FROM unnest(CAST(:ids AS text[]), CAST(:zh AS text[]), CAST(:en AS text[]), CAST(:currencies AS text[]),
        CAST(:settled_by AS text[]), CAST(:connectors AS text[]), CAST(:patterns AS text[]), CAST(:hints_zh AS text[]),
        CAST(:hints_en AS text[]), CAST(:timeouts AS integer[]), CAST(:lates AS integer[]), CAST(:places AS integer[]),
        CAST(:active AS boolean[]))
        AS f (id, zh, en, currency, settled_by, connector, pattern, hint_zh, hint_en, timeout, late, places, active)
    ON CONFLICT (id) DO UPDATE SET name_zh = excluded.name_zh, name_en = excluded.name_en,
        currency = excluded.currency, settled_by = excluded.settled_by, connector = excluded.connector,
        account_number_pattern = excluded.account_number_pattern,
        account_number_hint_zh = excluded.account_number_hint_zh,
        account_number_hint_en = excluded.account_number_hint_en, timeout_ms = excluded.timeout_ms,
        late_effect_seconds = excluded.late_effect_seconds, max_concurrency = excluded.max_concurrency,
        active = excluded.active
    WHERE b.* IS DISTINCT FROM excluded.*
    RETURNING (xmax = 0) AS new
""")
_SERVICES = text("""
    INSERT INTO services AS s (id, biller_id, category, name_zh, name_en)
    SELECT * FROM unnest(CAST(:ids AS text[]), CAST(:billers AS text[]), CAST(:categories AS text[]),
        CAST(:zh AS text[]), CAST(:en AS text[]))
    ON CONFLICT (id) DO UPDATE SET biller_id = excluded.biller_id, category = excluded.category,
        name_zh = excluded.name_zh, name_en = excluded.name_en
    WHERE s.* IS DISTINCT FROM excluded.*
    RETURNING (xmax = 0) AS new
""")
_COVERAGE = text("""
    INSERT INTO coverage (service_id, division_code)
    SELECT * FROM unnest(CAST(:services AS text[]), CAST(:divisions AS char(6)[]))
    ON CONFLICT DO NOTHING RETURNING true AS new
""")
_REMOVE_COVERAGE = text("""
    DELETE FROM coverage c USING services s
    WHERE s.id = c.service_id AND s.biller_id = ANY(CAST(:billers AS text[])) AND NOT EXISTS (
        SELECT FROM unnest(CAST(:services AS text[]), CAST(:divisions AS char(6)[])) AS f (service_id, division_code)
        WHERE f.service_id = c.service_id AND f.division_code = c.division_code)
""")
_REMOVE_SERVICES = text("""
    DELETE FROM services
    WHERE biller_id = ANY(CAST(:billers AS text[])) AND NOT id = ANY(CAST(:services AS text[]))
""")
_DEACTIVATE = text("""
    UPDATE billers SET active = false WHERE active AND NOT id = ANY(CAST(:billers AS text[]))
""")


@dataclass(frozen=True, slots=True)
class Counts:
    """The changes to one kind of row. `removed` counts deactivated billers, or deleted services or coverage."""

    new: int
    changed: int
    unchanged: int
    removed: int = 0


@dataclass(frozen=True, slots=True)
class CatalogueImported:
    """The result of an import."""

    divisions_written: int
    billers: Counts
    services: Counts
    coverage: Counts

    @property
    def changed_nothing(self) -> bool:
        kinds = (self.billers, self.services, self.coverage)
        return not self.divisions_written and not any(
            each.new or each.changed or each.removed for each in kinds
        )


async def import_catalogue(
    connection: AsyncConnection,
    catalogue: Catalogue,
    *,
    prune: bool = False,
    complete: bool = True,
) -> CatalogueImported:
    """Import the rows of a file. With `complete=False` (bad rows were left out) nothing is deleted."""
    await connection.execute(_ONE_AT_A_TIME)
    divisions = await write_divisions(connection)
    billers = await _upsert(connection, _BILLERS, _billers(catalogue), len(catalogue.billers))
    services = await _upsert(connection, _SERVICES, _services(catalogue), len(catalogue.services))
    covered = _coverage(catalogue)
    coverage = await _upsert(connection, _COVERAGE, covered, len(catalogue.coverage))
    named = {"billers": [each.id for each in catalogue.billers]}
    kept = {"services": [each.id for each in catalogue.services]}
    gone = (0, 0, 0)
    if complete:
        gone = (
            (await connection.execute(_DEACTIVATE, named)).rowcount if prune else 0,
            # Coverage goes first: it refers to the services.
            (await connection.execute(_REMOVE_COVERAGE, {**named, **covered})).rowcount,
            (await connection.execute(_REMOVE_SERVICES, {**named, **kept})).rowcount,
        )
    return CatalogueImported(
        divisions,
        _with_removed(billers, gone[0]),
        _with_removed(services, gone[2]),
        _with_removed(coverage, gone[1]),
    )


async def _upsert(
    connection: AsyncConnection, statement: TextClause, columns: Mapping[str, Any], rows: int
) -> Counts:
    written = [row.new for row in await connection.execute(statement, columns)]
    return Counts(sum(written), len(written) - sum(written), rows - len(written))


def _with_removed(counts: Counts, removed: int) -> Counts:
    return Counts(counts.new, counts.changed, counts.unchanged, removed)


def _billers(catalogue: Catalogue) -> dict[str, Sequence[Any]]:
    rows = catalogue.billers
    return {
        "ids": [row.id for row in rows],
        "zh": [row.name_zh for row in rows],
        "en": [row.name_en for row in rows],
        "currencies": [row.currency for row in rows],
        "settled_by": [row.settled_by for row in rows],
        "connectors": [json.dumps(row.connector.model_dump()) for row in rows],
        "patterns": [row.account_number_pattern for row in rows],
        "hints_zh": [row.account_number_hint_zh for row in rows],
        "hints_en": [row.account_number_hint_en for row in rows],
        "timeouts": [row.timeout_ms for row in rows],
        "lates": [row.late_effect_seconds for row in rows],
        "places": [row.max_concurrency for row in rows],
        "active": [row.active for row in rows],
    }


def _services(catalogue: Catalogue) -> dict[str, Sequence[Any]]:
    rows = catalogue.services
    return {
        "ids": [row.id for row in rows],
        "billers": [row.biller_id for row in rows],
        "categories": [row.category for row in rows],
        "zh": [row.name_zh for row in rows],
        "en": [row.name_en for row in rows],
    }


def _coverage(catalogue: Catalogue) -> dict[str, Sequence[Any]]:
    return {
        "services": [row.service_id for row in catalogue.coverage],
        "divisions": [row.division_code for row in catalogue.coverage],
    }
