"""Hypothesis strategies for the values that a JSON Schema allows: the part of draft 2020-12 that the models emit."""

from collections.abc import Callable, Mapping
from datetime import UTC, timedelta, timezone
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy


def instances(schema: Mapping[str, Any], document: Mapping[str, Any]) -> SearchStrategy[Any]:
    """Return a strategy for values of `schema`, a part of `document`."""
    if "$ref" in schema:
        return instances(document["$defs"][schema["$ref"].rsplit("/", 1)[1]], document)
    if "const" in schema or "enum" in schema:
        return st.sampled_from(schema.get("enum") or [schema["const"]])
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return st.one_of([instances(each, document) for each in schema[keyword]])
    strategies: dict[str, Callable[[], SearchStrategy[Any]]] = {
        "object": lambda: _objects(schema, document),
        "array": lambda: st.lists(instances(schema["items"], document), max_size=3),
        "integer": lambda: _integers(schema),
        "string": lambda: _strings(schema),
        "null": st.none,
    }
    return strategies[schema["type"]]()


def _objects(schema: Mapping[str, Any], document: Mapping[str, Any]) -> SearchStrategy[Any]:
    fields = {name: instances(each, document) for name, each in schema["properties"].items()}
    required = set(schema.get("required", ()))
    return st.fixed_dictionaries(
        {name: each for name, each in fields.items() if name in required},
        optional={name: each for name, each in fields.items() if name not in required},
    )


def _integers(schema: Mapping[str, Any]) -> SearchStrategy[int]:
    lowest = schema.get("minimum")
    if "exclusiveMinimum" in schema:
        lowest = schema["exclusiveMinimum"] + 1
    return st.integers(lowest, schema.get("maximum"))


def _strings(schema: Mapping[str, Any]) -> SearchStrategy[str]:
    match schema.get("format"):
        case "uuid":
            return st.uuids().map(str)
        case "date":
            return st.dates().map(str)
        case "date-time":
            # RFC 3339 §5.6: an offset in whole minutes.
            zones = st.sampled_from(
                (UTC, timezone(timedelta(hours=8)), timezone(-timedelta(minutes=210)))
            )
            return st.datetimes(timezones=zones).map(lambda at: at.isoformat())
    if "pattern" in schema:
        # Python's $ also matches before a last line break, JSON Schema's does not.
        return st.from_regex(schema["pattern"].replace("$", r"\Z"), fullmatch=True)
    # Without NUL, which PostgreSQL cannot store.
    alphabet = st.characters(codec="utf-8", exclude_characters="\0")
    return st.text(alphabet, max_size=schema.get("maxLength", 20))
