"""A text that a door accepts fits into every later write: each has a bound, at its door and in its columns."""

import json
import re
import sys
from collections.abc import Iterator
from importlib import import_module
from pkgutil import walk_packages
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import pytest
from annotated_types import MaxLen
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy import CheckConstraint, Column, String, Text, text
from sqlalchemy.ext.asyncio import AsyncEngine

import services.billing
from events import EVENT_TYPES, bounds
from events.bounds import Fitted, is_storable
from events.message import Event
from services.billing.bills.routes import AccountRequest
from services.billing.database import metadata
from services.billing.door.routes import NewPayment, NewRefund, NewTopUp

for module in walk_packages(services.billing.__path__, "services.billing."):
    if module.name.endswith((".tables", ".database")):
        import_module(module.name)

BODIES: tuple[type[BaseModel], ...] = (NewPayment, NewRefund, NewTopUp, AccountRequest)
# A field's value is kept in the columns of this name; those that are kept nowhere have none.
COLUMN_OF = {"channel": "channel_id", "receipt_number": "number"}
KEPT_NOWHERE = {"medium", "outcome", "kind", "rule", "currency"}


def leaves(annotation: Any, path: str, found: tuple[Any, ...] = ()) -> Iterator[tuple[str, Any]]:
    """Every text in a type, with what bounds it: (path, longest), None when nothing does."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from leaves(arguments[0], path, (*found, *arguments[1:]))
    elif origin in {Union, UnionType, list}:
        for each in arguments:
            yield from leaves(each, path, found)
    elif isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, field in annotation.model_fields.items():
            yield from leaves(field.rebuild_annotation(), f"{path}.{name}")
    elif annotation is str:
        yield path, longest_of(found)


def longest_of(found: tuple[Any, ...]) -> int | None:
    """The least bound among these annotations."""
    known = []
    for each in found:
        for one in getattr(each, "metadata", [each]):
            if isinstance(one, Fitted):
                known.append(one.longest)
            elif isinstance(one, MaxLen):
                known.append(one.max_length)
            elif pattern := getattr(one, "pattern", None):
                known.append(re._parser.parse(pattern).getwidth()[1])  # type: ignore[attr-defined]
    least = min(known, default=sys.maxsize)
    return least if least < 1_000_000 else None


def texts() -> list[tuple[str, str, int | None]]:
    """(model, path, longest) of every text in a command, an event or a body."""
    found = []
    for model in (*EVENT_TYPES.values(), *BODIES):
        if not model.__module__.startswith(("events.", "services.")):
            continue
        for name, field in model.model_fields.items():
            for path, longest in leaves(field.rebuild_annotation(), name):
                found.append((model.__name__, path, longest))
    return found


def columns() -> list[Column[Any]]:
    return [
        column
        for table in metadata.sorted_tables
        for column in table.columns
        if isinstance(column.type, String | Text)
    ]


def checks_bound(column: Column[Any]) -> bool:
    """Return True when a CHECK lists the column's values or bounds its length."""
    content = " ".join(
        str(each.sqltext) for each in column.table.constraints if isinstance(each, CheckConstraint)
    )
    listed = rf"\b{column.name} IN \(|\blength\({column.name}\) =|octet_length\({column.name}\)"
    return re.search(listed, content) is not None


def test_the_lists_of_columns_and_fields_are_not_empty() -> None:
    assert len(texts()) > 80
    assert len(columns()) > 80


@pytest.mark.parametrize("column", columns(), ids=str)
def test_every_text_column_has_a_bound(column: Column[Any]) -> None:
    assert column.type.length or checks_bound(column)  # type: ignore[attr-defined]


async def test_the_database_has_the_same_bounds(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        rows = await connection.execute(
            text(
                "SELECT table_name, column_name, character_maximum_length AS longest"
                " FROM information_schema.columns WHERE table_schema = 'billing'"
                " AND data_type IN ('text', 'character varying', 'character')"
            )
        )
        kept = {(row.table_name, row.column_name): row.longest for row in rows}
    declared = {
        (column.table.name, column.name): column.type.length  # type: ignore[attr-defined]
        for column in columns()
    }
    assert {key: kept[key] for key in declared} == declared


@pytest.mark.parametrize(("model", "path", "longest"), texts())
def test_every_text_of_a_message_fits_where_it_is_kept(
    model: str, path: str, longest: int | None
) -> None:
    assert longest is not None, "no bound is declared"
    name = path.rsplit(".", 1)[-1]
    if name in KEPT_NOWHERE:
        return
    homes = [each for each in columns() if each.name == COLUMN_OF.get(name, name)]
    assert homes, "the text is kept somewhere: name its column in COLUMN_OF"
    for column in homes:
        width = column.type.length  # type: ignore[attr-defined]
        assert (width or bounds.RECEIPT_NUMBER) >= longest, str(column)


def test_a_correlation_id_fits_wherever_it_is_kept() -> None:
    homes = [each for each in columns() if each.name == "correlation_id"]
    assert len(homes) > 3
    assert all(each.type.length >= bounds.CORRELATION_ID for each in homes)  # type: ignore[attr-defined]


def test_the_longest_text_is_accepted_and_a_longer_one_is_refused_or_shortened() -> None:
    tried = 0
    for model in (*EVENT_TYPES.values(), *BODIES):
        if not model.__module__.startswith(("events.", "services.")):
            continue
        for name, field in model.model_fields.items():
            annotation = field.rebuild_annotation()
            for path, longest in leaves(annotation, name):
                # An account number is judged by the biller's pattern, with hints for the payer: see test_routes.
                if "." in path or longest is None or path == "account_number":
                    continue
                adapter: TypeAdapter[Any] = TypeAdapter(annotation)
                example = sample(adapter, longest)
                assert adapter.validate_json(json.dumps(example)) == example
                for bad in (example + "a", example * 10_000, "a\0b", "a\nb", "a\x7fb"):
                    kept = taken(adapter, json.dumps(bad))
                    assert kept is None or (len(kept) <= longest and is_storable(kept))
                assert taken(adapter, '"a\\ud800"') is None, "half of a pair is no JSON text"
                tried += 1
    assert tried > 60


def taken(adapter: TypeAdapter[Any], document: str) -> str | None:
    """Return the value that the type parses from this JSON; None when it refuses."""
    try:
        kept: str = adapter.validate_json(document)
    except ValidationError:
        return None
    return kept


def sample(adapter: TypeAdapter[Any], longest: int) -> str:
    """The longest value that the type takes."""
    for each in ("刘", "a", "A", "https://a"):
        result = (each * longest)[:longest]
        try:
            adapter.validate_python(result)
        except ValidationError:
            continue
        return result
    raise AssertionError(f"no example of {longest} characters")


def test_the_largest_events_fit_into_the_outbox() -> None:
    """500 bills of the longest texts, in one event: the limit is Kafka's."""
    from datetime import UTC, datetime

    from events.bills import BillsFound, FoundBill
    from events.envelope import LARGEST_VALUE_BYTES
    from events.ids import uuid7
    from events.money import LARGEST_MINOR
    from services.billing.bills.validate import MOST_BILLS

    bill = FoundBill(
        bill_id=uuid7(),
        period="𠮷" * bounds.PERIOD,
        amount_minor=LARGEST_MINOR,
        currency="CNY",
        rule="at_least",
        min_minor=LARGEST_MINOR,
        max_minor=LARGEST_MINOR,
        multiple_minor=LARGEST_MINOR,
        expires_at=datetime.now(UTC),
    )
    event: Event = BillsFound(
        lookup_id=uuid7(),
        channel="c" * bounds.CHANNEL_ID,
        account_id=uuid7(),
        biller_id="b" * bounds.BILLER_ID,
        bills=[bill] * MOST_BILLS,
    )
    assert len(event.model_dump_json().encode()) <= LARGEST_VALUE_BYTES
