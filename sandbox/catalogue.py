"""The sandbox country's catalogue, as rows of the catalogue file: billers, services, and what is offered where.

Reach of the network: 28 provinces and 253 prefecture-level cities. A province counts when it or a division in it is
covered; the four municipalities (Beijing, Tianjin, Shanghai, Chongqing) count as provinces, and their one synthetic
level-2 row counts as no city. A prefecture-level city is another level-2 division whose Chinese name ends with 市, so
prefectures, autonomous prefectures and leagues are left out.
"""

import argparse
import csv
import json
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

from sandbox.billers.biller_list import BILLERS, SandboxBiller

CITIES = 253
MUNICIPALITIES = ("110000", "120000", "310000", "500000")
_CATEGORIES_ZH = {"electricity": "电费", "water": "水费", "gas": "燃气费", "heating": "取暖费"}

Row = dict[str, Any]
Division = Mapping[str, str]


def rows(billers_url: str) -> list[Row]:
    """The catalogue's rows; `billers_url` is where `python -m sandbox.billers` listens. The same every time."""
    named = {each["code"]: each for each in _divisions()}
    reached = reach(list(named.values()))
    made = [biller_row(each, billers_url) for each in BILLERS]
    for institution in BILLERS:
        for division in institution.where:
            made += _offer(institution, named[division], reached)
    return made


def biller_row(institution: SandboxBiller, billers_url: str) -> Row:
    """The row of one biller."""
    connector = {"dialect": institution.dialect}
    if institution.settled_by == "call":
        connector["url"] = f"{billers_url.rstrip('/')}/{institution.id}"
    return {
        "kind": "biller",
        "id": institution.id,
        "name_zh": institution.name_zh,
        "name_en": institution.name_en,
        "currency": "CNY",
        "settled_by": institution.settled_by,
        "connector": connector,
        "account_number_pattern": institution.pattern,
        "account_number_hint_zh": institution.hint_zh,
        "account_number_hint_en": institution.hint_en,
        "timeout_ms": 5_000,
        "late_effect_seconds": 120,
        "max_concurrency": 32,
        "active": True,
    }


def reach(divisions: Sequence[Division]) -> dict[str, list[str]]:
    """By province that is served with power: the codes of its cities in the network, 253 of them outside the
    municipalities. Every province has its first city before any has its second, and so on."""
    served = {code for each in BILLERS for code in each.where if code.endswith("0000")}
    cities = defaultdict(list)
    for each in divisions:
        if each["parent"] in served and each["name_zh"].endswith("市"):
            cities[each["parent"]].append(each["code"])
    reached = {province: cities.pop(province)[:1] for province in MUNICIPALITIES}
    in_turn = sorted(
        (rank, city, province)
        for province, codes in cities.items()
        for rank, city in enumerate(sorted(codes))
    )
    for _, city, province in in_turn[:CITIES]:
        reached.setdefault(province, []).append(city)
    return reached


def _offer(
    institution: SandboxBiller, place: Division, reached: Mapping[str, list[str]]
) -> Iterator[Row]:
    # A biller of provinces has a service in each, which covers its cities; one of a city has one there.
    whole_province = place["level"] == "1"
    service = f"{institution.id}-{place['code']}" if whole_province else f"{institution.id}-bill"
    category = institution.category
    yield {
        "kind": "service",
        "id": service,
        "biller_id": institution.id,
        "category": category,
        "name_zh": f"{place['name_zh']}{_CATEGORIES_ZH[category]}",
        "name_en": f"{place['name_en']} {category}",
    }
    for code in reached[place["code"]] if whole_province else [place["code"]]:
        yield {"kind": "coverage", "service_id": service, "division_code": code}


def _divisions() -> list[Division]:
    file = resources.files("services.billing.catalog") / "divisions.csv"
    with file.open(encoding="utf-8") as lines:
        return list(csv.DictReader(lines))


def main() -> None:
    """Write the catalogue file to standard output."""
    parser = argparse.ArgumentParser(
        prog="sandbox.catalogue", description="The sandbox's catalogue."
    )
    parser.add_argument("--billers-url", default="http://127.0.0.1:8430")
    for row in rows(parser.parse_args().billers_url):
        sys.stdout.write(json.dumps(row, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
