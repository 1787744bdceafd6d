"""Every bad row of a catalogue file is told with its line, its field and what to do."""

from pathlib import Path
from typing import Any

import pytest

from services.billing.catalog import read
from tests.services.billing.catalog.rows import (
    Row,
    biller,
    coverage,
    good,
    lines,
    read_rows,
    service,
)


def test_a_good_file_in_any_order(tmp_path: Path) -> None:
    file = tmp_path / "catalogue.jsonl"
    rows = lines(coverage(), "", service(), biller(timeout_ms=700, active=False))
    file.write_bytes(b"\xef\xbb\xbf" + b"".join(rows))
    catalogue, errors = read(file)
    assert not errors
    assert [each.id for each in catalogue.billers] == ["hz-water"]
    assert (catalogue.billers[0].timeout_ms, catalogue.billers[0].max_concurrency) == (700, 32)
    assert not catalogue.billers[0].active
    assert [each.id for each in catalogue.services] == ["hz-water-bill"]
    assert [each.division_code for each in catalogue.coverage] == ["330100"]


def test_a_biller_by_file_needs_no_address() -> None:
    assert good(biller(settled_by="file", connector={"dialect": "file"})).billers


BY_FILE = {"dialect": "file"}


@pytest.mark.parametrize(
    ("different", "field", "says"),
    [
        ({"kind": "shop"}, "kind", 'say "biller"'),
        ({"id": "Hz Water"}, "id", "lower-case letters"),
        ({"id": "x" * 41}, "id", "at most 40"),
        ({"name_zh": ""}, "name_zh", "at least 1 character"),
        ({"currency": "yuan"}, "currency", "ISO 4217"),
        ({"settled_by": "post"}, "settled_by", '"call"'),
        ({"connector": "http://x"}, "connector", "dialect"),
        ({"connector": {"dialect": "soap", "url": "http://x/"}}, "connector.dialect", "gbk-xml"),
        ({"connector": {"dialect": "json", "url": "ftp://x/"}}, "connector", "http://"),
        ({"connector": {"dialect": "json", "url": "http:///x"}}, "connector", "with a host"),
        ({"connector": {"dialect": "json", "url": "http://a:b@x/"}}, "connector", "password"),
        ({"connector": {"dialect": "json", "url": "http://x:99999/"}}, "connector", "http://"),
        ({"connector": {"dialect": "json"}}, "connector", "http://"),
        ({"connector": BY_FILE}, "connector", 'goes with settled_by "file"'),
        ({"settled_by": "file"}, "connector", 'goes with settled_by "file"'),
        ({"account_number_pattern": "^[0-9$"}, "account_number_pattern", "regular expression"),
        ({"timeout_ms": 99}, "timeout_ms", "100 to 60000"),
        ({"timeout_ms": 60_001}, "timeout_ms", "100 to 60000"),
        ({"timeout_ms": "5000"}, "timeout_ms", "whole number"),
        ({"max_concurrency": 0}, "max_concurrency", "1 to 1000"),
        ({"max_concurrency": 1.5}, "max_concurrency", "whole number"),
        ({"active": "yes"}, "active", "true or false"),
        ({"colour": "red"}, "colour", "no field of this kind"),
    ],
)
def test_a_bad_biller(different: Row, field: str, says: str) -> None:
    catalogue, errors = read_rows(biller("good"), biller(**different))
    assert [each.id for each in catalogue.billers] == ["good"]
    assert [(each.line, each.field) for each in errors] == [(2, field)]
    assert says in errors[0].text


def test_a_missing_field_is_named() -> None:
    row = biller()
    del row["name_en"], row["connector"]
    _, errors = read_rows(row)
    assert [(each.line, each.field) for each in errors] == [(1, "name_en"), (1, "connector")]
    assert all("is missing" in each.text for each in errors)


@pytest.mark.parametrize(
    ("rows", "line", "field", "says"),
    [
        ((biller(), biller()), 2, "id", "line 1"),
        ((biller(), service(), service()), 3, "id", "line 2"),
        ((biller(), service(), coverage(), coverage()), 4, "division_code", "line 3"),
        ((service(),), 1, "biller_id", "no biller 'hz-water'"),
        ((biller(), coverage("gone")), 2, "service_id", "no service 'gone'"),
        ((biller(), service(), coverage(division_code="999900")), 3, "division_code", "GB/T 2260"),
        ((biller(), service(category="tea")), 2, "category", "heating"),
        ((biller(), '{"kind": "biller",'), 2, "line", "column"),
        ((biller(), "[1, 2]"), 2, "line", "object"),
        ((biller(), b'{"kind": "\xff"}'), 2, "line", "UTF-8"),
        ((biller(), "[" * 100_000), 2, "line", "not JSON"),
        ((biller(), '{"id": "no-kind"}'), 2, "kind", 'say "biller"'),
    ],
)
def test_a_bad_row_among_good_ones(rows: tuple[Any, ...], line: int, field: str, says: str) -> None:
    _, errors = read_rows(*rows)
    assert [(each.line, each.field) for each in errors] == [(line, field)]
    assert says in errors[0].text


def test_rows_that_refer_to_a_bad_row_are_left_out_without_an_error() -> None:
    catalogue, errors = read_rows(
        biller("good"),
        service("good-bill", "good"),
        coverage("good-bill"),
        coverage(),
        service(),
        biller(currency="?"),
    )
    assert [str(each) for each in errors] == [
        "line 6: currency: String should match pattern '^[A-Z]{3}$'; use an ISO 4217 code, for example CNY"
    ]
    assert [each.id for each in catalogue.services] == ["good-bill"]
    assert [each.service_id for each in catalogue.coverage] == ["good-bill"]
