"""Rows of a catalogue file, right as they are; a test says what is different."""

import json
from typing import Any

from services.billing.catalog import Catalogue, RowError
from services.billing.catalog.read_file import read_lines

Row = dict[str, Any]


def biller(id: str = "hz-water", **different: Any) -> Row:
    return {
        "kind": "biller",
        "id": id,
        "name_zh": "杭州水务",
        "name_en": "Hangzhou Water",
        "currency": "CNY",
        "settled_by": "call",
        "connector": {"dialect": "json", "url": "http://127.0.0.1:9/water"},
        "account_number_pattern": "^[0-9]{10}$",
        "account_number_hint_zh": "10 位数字",
        "account_number_hint_en": "10 digits",
        **different,
    }


def service(id: str = "hz-water-bill", biller_id: str = "hz-water", **different: Any) -> Row:
    row = {"kind": "service", "id": id, "biller_id": biller_id, "category": "water"}
    return {**row, "name_zh": "水费", "name_en": "Water bill", **different}


def coverage(service_id: str = "hz-water-bill", division_code: str = "330100") -> Row:
    return {"kind": "coverage", "service_id": service_id, "division_code": division_code}


def lines(*rows: Row | str | bytes) -> list[bytes]:
    """The lines of a file; a string stands for a line as it is."""
    made = []
    for row in rows:
        text = row if isinstance(row, str | bytes) else json.dumps(row, ensure_ascii=False)
        made.append(text if isinstance(text, bytes) else text.encode())
    return [each + b"\n" for each in made]


def read_rows(*rows: Row | str | bytes) -> tuple[Catalogue, list[RowError]]:
    return read_lines(lines(*rows))


def good(*rows: Row) -> Catalogue:
    """The catalogue of rows that are all right."""
    catalogue, errors = read_rows(*rows)
    assert not errors, errors
    return catalogue
