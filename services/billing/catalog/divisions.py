"""Divisions: the provinces and prefectures of GB/T 2260, from our own table divisions.csv.

A municipality is in the table twice: as a province, and with one prefecture-level row (110100 is Beijing again), so
that every service is offered in a division of level 2.
"""

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

PROVINCE, PREFECTURE = 1, 2

_WRITE = text("""
    INSERT INTO divisions AS d (code, name_zh, name_en, level, parent)
    SELECT * FROM unnest(CAST(:codes AS char(6)[]), CAST(:zh AS text[]), CAST(:en AS text[]),
        CAST(:levels AS smallint[]), CAST(:parents AS char(6)[]))
    ON CONFLICT (code) DO UPDATE SET name_zh = excluded.name_zh, name_en = excluded.name_en, level = excluded.level,
        parent = excluded.parent
    WHERE (d.name_zh, d.name_en, d.level, d.parent)
        IS DISTINCT FROM (excluded.name_zh, excluded.name_en, excluded.level, excluded.parent)
    RETURNING code
""")


@dataclass(frozen=True, slots=True)
class Division:
    """A province (level 1, no parent) or a prefecture-level unit of one (level 2)."""

    code: str
    name_zh: str
    name_en: str
    level: int
    parent: str | None


@cache
def read_divisions() -> Mapping[str, Division]:
    """Return our table by code, parents before their children."""
    path = Path(__file__).with_name("divisions.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [
            Division(
                row["code"],
                row["name_zh"],
                row["name_en"],
                int(row["level"]),
                row["parent"] or None,
            )
            for row in csv.DictReader(file)
        ]
    return {row.code: row for row in sorted(rows, key=lambda row: (row.level, row.code))}


async def write_divisions(connection: AsyncConnection) -> int:
    """Update the database's divisions from our table; return how many were new or changed."""
    rows = list(read_divisions().values())
    written = await connection.execute(
        _WRITE,
        {
            "codes": [row.code for row in rows],
            "zh": [row.name_zh for row in rows],
            "en": [row.name_en for row in rows],
            "levels": [row.level for row in rows],
            "parents": [row.parent for row in rows],
        },
    )
    return len(written.all())
