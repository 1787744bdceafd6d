"""The sandbox's catalogue: it says what the network reaches, and every row fits the others."""

import json
import re
import subprocess
import sys

from sandbox import catalogue
from sandbox.billers.biller_list import BILLERS
from services.billing.catalog.read_file import read_lines
from services.billing.catalog.tables import CATEGORIES

URL = "http://127.0.0.1:8430"
ROWS = catalogue.rows(URL)
MUNICIPALITIES = {"11", "12", "31", "50"}


def of(kind: str) -> list[catalogue.Row]:
    return [row for row in ROWS if row["kind"] == kind]


def test_it_reaches_28_provinces_and_253_prefecture_level_cities() -> None:
    covered = {row["division_code"] for row in of("coverage")}
    assert len({code[:2] for code in covered}) == 28
    cities = {code for code in covered if code[:2] not in MUNICIPALITIES}
    assert len(cities) == 253
    assert all(not code.endswith("0000") for code in covered)


def test_rows_fit_each_other_and_the_divisions() -> None:
    billers = {row["id"] for row in of("biller")}
    services = {row["id"]: row for row in of("service")}
    divisions = {row["code"] for row in catalogue._divisions()}
    assert len(services) == len(of("service"))
    assert {row["biller_id"] for row in services.values()} == billers
    assert {row["category"] for row in services.values()} <= set(CATEGORIES)
    coverage = [(row["service_id"], row["division_code"]) for row in of("coverage")]
    assert len(set(coverage)) == len(coverage)
    assert {service for service, _ in coverage} == set(services)
    assert {division for _, division in coverage} <= divisions


def test_billers_speak_every_dialect_and_have_every_rule() -> None:
    billers = of("biller")
    assert {row["connector"]["dialect"] for row in billers} == {"json", "form", "gbk-xml", "file"}
    assert {each.rule for each in BILLERS} == {"exact", "at_least", "at_most", "range", "any"}
    assert any(each.multiple_minor for each in BILLERS)
    by_file = [row["id"] for row in billers if row["settled_by"] == "file"]
    assert by_file == ["lz-water", "ty-heating"]
    for row in billers:
        assert re.fullmatch("[a-z0-9][a-z0-9-]{0,39}", row["id"])
        assert ("url" in row["connector"]) == (row["settled_by"] == "call")


def test_the_command_writes_the_same_rows() -> None:
    command = [sys.executable, "-m", "sandbox.catalogue", "--billers-url", f"{URL}/"]
    written = subprocess.run(command, check=True, capture_output=True).stdout
    assert [json.loads(line) for line in written.splitlines()] == ROWS
    read, errors = read_lines(written.splitlines())
    assert errors == []
    assert len(read.billers) == len(BILLERS)
