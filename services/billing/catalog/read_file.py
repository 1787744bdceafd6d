"""Read a catalogue file: JSON Lines, one biller, service or coverage per line, in any order.

A service's biller and a coverage's service are in the same file. Every bad row gets an error that names its line, its
field and what to do.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from events import bounds
from services.billing.catalog.divisions import read_divisions
from services.billing.catalog.tables import LONGEST_NAME

SLUG = r"^[a-z0-9][a-z0-9-]{0,39}$"
DIALECTS = ("json", "form", "gbk-xml", "file")

Slug = Annotated[str, Field(pattern=SLUG)]
Name = Annotated[str, bounds.text(LONGEST_NAME, min_length=1)]

# By field: how to correct it, whatever is wrong with it.
ADVICE = {
    "kind": 'say "biller", "service" or "coverage"',
    "id": "use lower-case letters, digits and hyphens, at most 40",
    "biller_id": "name the id of a biller in this file",
    "service_id": "name the id of a service in this file",
    "division_code": "use a GB/T 2260 code of a province or prefecture, for example 330100",
    "category": "use electricity, water, gas, heating or other",
    "settled_by": 'use "call" (applied one by one) or "file" (in our day file)',
    "connector": 'give {"dialect": "json|form|gbk-xml|file", "url": "http://…"}',
    "connector.dialect": "use json, form, gbk-xml or file",
    "connector.url": "use an http:// or https:// address with a host and without a password",
    "account_number_pattern": "use a regular expression that matches the whole number, like ^[0-9]{10}$",
    "currency": "use an ISO 4217 code, for example CNY",
    "timeout_ms": "use a whole number from 100 to 60000",
    "late_effect_seconds": "use a whole number from 0 to 86400",
    "max_concurrency": "use a whole number from 1 to 1000",
    "active": "use true or false",
}


class _Row(BaseModel):
    # An unknown field is more likely a typing error than intended.
    model_config = ConfigDict(frozen=True, extra="forbid")


class ConnectorSpec(_Row):
    """How to reach a biller. `url` is empty only for a biller that works by file."""

    dialect: Literal["json", "form", "gbk-xml", "file"]
    url: Annotated[str, bounds.text(2_000)] = ""


class BillerRow(_Row):
    """A biller in the file."""

    kind: Literal["biller"]
    id: Slug
    name_zh: Name
    name_en: Name
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    settled_by: Literal["call", "file"]
    connector: ConnectorSpec
    account_number_pattern: Name
    account_number_hint_zh: Name
    account_number_hint_en: Name
    # The bounds of calls to the biller: docs/operating.md, Institutions.
    timeout_ms: Annotated[int, Field(ge=100, le=60_000, strict=True)] = 5000
    late_effect_seconds: Annotated[int, Field(ge=0, le=86_400, strict=True)] = 120
    max_concurrency: Annotated[int, Field(ge=1, le=1000, strict=True)] = 32
    active: Annotated[bool, Field(strict=True)] = True

    @field_validator("account_number_pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise PydanticCustomError(
                "pattern", "not a regular expression: {why}", {"why": str(error)}
            ) from error
        return pattern

    @field_validator("connector")
    @classmethod
    def _is_reachable(cls, connector: ConnectorSpec, info: Any) -> ConnectorSpec:
        by_file = connector.dialect == "file"
        if by_file != (info.data.get("settled_by", "file" if by_file else "call") == "file"):
            raise PydanticCustomError(
                "dialect", 'the dialect "file" goes with settled_by "file", and no other does'
            )
        if not (by_file and not connector.url) and not _is_web_address(connector.url):
            raise PydanticCustomError("url", f"not an address to call; {ADVICE['connector.url']}")
        return connector


class ServiceRow(_Row):
    """A service of a biller in the file."""

    kind: Literal["service"]
    id: Slug
    biller_id: str
    category: Literal["electricity", "water", "gas", "heating", "other"]
    name_zh: Name
    name_en: Name


class CoverageRow(_Row):
    """Where a service is offered: a prefecture, or a whole province."""

    kind: Literal["coverage"]
    service_id: str
    division_code: str


AnyRow = Annotated[BillerRow | ServiceRow | CoverageRow, Field(discriminator="kind")]
_ROWS: TypeAdapter[BillerRow | ServiceRow | CoverageRow] = TypeAdapter(AnyRow)


@dataclass(frozen=True, slots=True)
class RowError:
    """The fault of a line, and what to do. `field` is a dotted path, or "line" for the line as a whole."""

    line: int
    field: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.field}: {self.text}"


@dataclass(slots=True)
class Catalogue:
    """The good rows of a file. A row whose biller or service is bad is not among them."""

    billers: list[BillerRow] = field(default_factory=list)
    services: list[ServiceRow] = field(default_factory=list)
    coverage: list[CoverageRow] = field(default_factory=list)


def read(path: Path) -> tuple[Catalogue, list[RowError]]:
    """Return the good rows and the errors of the bad ones, in the order of their lines. Raises OSError."""
    with path.open("rb") as file:
        return read_lines(file)


def read_lines(lines: Iterable[bytes]) -> tuple[Catalogue, list[RowError]]:
    """Do the same as `read`, for lines in memory."""
    errors: list[RowError] = []
    rows: list[tuple[int, BillerRow | ServiceRow | CoverageRow]] = []
    named: set[tuple[str, str]] = (
        set()
    )  # the subjects of bad rows, so that rows which refer to them get no error of their own
    for number, raw in enumerate(lines, 1):
        members = _parse(number, raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw, errors)
        if members is None:
            continue
        try:
            rows.append((number, _ROWS.validate_python(members)))
        except ValidationError as error:
            errors += _explain(number, error)
            named.add((str(members.get("kind")), str(members.get("id"))))
    order = {"biller": 0, "service": 1, "coverage": 2}
    references = _References(named)
    # Billers, then services, then coverage, so that each row finds the row that it belongs to.
    for number, row in sorted(rows, key=lambda each: (order[each[1].kind], each[0])):
        if wrong := references.add(number, row):
            errors.append(wrong)
    return references.catalogue(), sorted(errors, key=lambda each: each.line)


def _parse(number: int, raw: bytes, errors: list[RowError]) -> dict[str, Any] | None:
    if not raw.strip():
        return None
    try:
        members = json.loads(raw.decode())
    except UnicodeDecodeError:
        errors.append(RowError(number, "line", "not UTF-8; save the file as UTF-8"))
    except (json.JSONDecodeError, RecursionError) as error:
        where = f" at column {error.colno}" if isinstance(error, json.JSONDecodeError) else ""
        errors.append(
            RowError(number, "line", f"not JSON{where}; write one JSON object a line, on one line")
        )
    else:
        if isinstance(members, dict):
            return members
        errors.append(RowError(number, "line", "not a JSON object; write {…} with a kind"))
    return None


def _explain(number: int, error: ValidationError) -> list[RowError]:
    found = []
    for item in error.errors(include_url=False, include_input=False):
        # A union reports the kind in front of the path.
        parts = [str(part) for part in item["loc"] if part not in {"biller", "service", "coverage"}]
        name = ".".join(parts) or "kind"
        if item["type"] == "extra_forbidden":
            fault = "is no field of this kind; correct its name or leave it out"
        elif item["type"] == "missing":
            fault = f"is missing; {ADVICE.get(name, 'add it')}"
        else:
            fault = item["msg"] if item["type"] != "union_tag_invalid" else "is not a kind of row"
            fault += f"; {ADVICE[name]}" if name in ADVICE and ADVICE[name] not in fault else ""
        found.append(RowError(number, name, fault))
    return found


class _References:
    """The good rows so far.

    `bad` names bad rows: rows that belong to them are left out without an error of their own.
    """

    def __init__(self, bad: set[tuple[str, str]]) -> None:
        self._bad = bad
        self._first: dict[tuple[str, ...], int] = {}
        self._billers: dict[str, BillerRow] = {}
        self._services: dict[str, ServiceRow] = {}
        self._coverage: list[CoverageRow] = []

    def add(self, line: int, row: BillerRow | ServiceRow | CoverageRow) -> RowError | None:
        """Add the row, or return its error."""
        key, name = _identity(row)
        if key in self._first:
            fault = f"{key[-1]!r} is in line {self._first[key]} already; leave one out"
            return RowError(line, name, fault)
        self._first[key] = line
        if isinstance(row, BillerRow):
            self._billers[row.id] = row
            return None
        return (
            self._add_service(line, row)
            if isinstance(row, ServiceRow)
            else self._add_coverage(line, row)
        )

    def catalogue(self) -> Catalogue:
        """Return the good rows."""
        return Catalogue([*self._billers.values()], [*self._services.values()], self._coverage)

    def _add_service(self, line: int, row: ServiceRow) -> RowError | None:
        if row.biller_id in self._billers:
            self._services[row.id] = row
            return None
        self._bad.add(("service", row.id))
        if ("biller", row.biller_id) in self._bad:
            return None
        fault = f"there is no biller {row.biller_id!r}; {ADVICE['biller_id']}"
        return RowError(line, "biller_id", fault)

    def _add_coverage(self, line: int, row: CoverageRow) -> RowError | None:
        if row.division_code not in read_divisions():
            fault = f"there is no division {row.division_code!r}; {ADVICE['division_code']}"
            return RowError(line, "division_code", fault)
        if row.service_id in self._services:
            self._coverage.append(row)
            return None
        if ("service", row.service_id) in self._bad:
            return None
        fault = f"there is no service {row.service_id!r}; {ADVICE['service_id']}"
        return RowError(line, "service_id", fault)


def _identity(row: BillerRow | ServiceRow | CoverageRow) -> tuple[tuple[str, ...], str]:
    # The identity of a row, which may occur once in a file, and the field to name when it occurs twice.
    if isinstance(row, CoverageRow):
        return (row.kind, row.service_id, row.division_code), "division_code"
    return (row.kind, row.id), "id"


def _is_web_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        # Reading the port raises ValueError when it is not a number.
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.username is None
            and parts.port != 0
            and not any(character.isspace() for character in url)
        )
    except ValueError:
        return False
