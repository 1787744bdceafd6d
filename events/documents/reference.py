"""The tables of docs/events.md, generated from the models between `<!-- name -->` and `<!-- /name -->`."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

from events import EVENT_TYPES
from events.documents.asyncapi import OPERATIONS, keys_of, messages_on
from events.documents.json_schema import schema_of
from events.message import Event
from events.topics import DAY_MS, DEAD_LETTERS, TOPICS, Topic

_SECTION = re.compile(r"<!-- (\w+) -->\n.*?<!-- /\1 -->", re.DOTALL)


def fill_sections(page: str) -> str:
    """Return the page with every generated section up to date. Raises KeyError for an unknown section."""
    sections = {
        "topics": _topics(),
        "dead_letters": _dead_letters(),
        "messages": _messages(),
    }
    return _SECTION.sub(
        lambda match: f"<!-- {match[1]} -->\n{sections[match[1]]}\n<!-- /{match[1]} -->", page
    )


def type_of(schema: dict[str, Any]) -> str:
    """Return a field's type in a few words: `uuid`, `integer or null`, `list of FoundBill`, `"wallet"`."""
    for keyword in ("anyOf", "oneOf"):
        if keyword in schema:
            return " or ".join(type_of(each) for each in schema[keyword])
    if "$ref" in schema:
        return str(schema["$ref"].rsplit("/", 1)[1])
    if "const" in schema or "enum" in schema:
        values = schema.get("enum") or [schema["const"]]
        return " or ".join(f'"{each}"' for each in values)
    if schema.get("type") == "array":
        return f"list of {type_of(schema['items'])}"
    return str(schema.get("format") or schema["type"])


def _topics() -> str:
    rows = [
        (
            f"`{topic.name}`",
            keys_of(topic),
            str(topic.partitions),
            f"{topic.retention_ms // DAY_MS} days",
            _applications("send", topic),
            _applications("receive", topic),
        )
        for topic in TOPICS
    ]
    return _table(("topic", "key", "partitions", "retention", "written by", "read by"), rows)


def _dead_letters() -> str:
    rows = [
        (f"`{dead.name}`", f"`{topic}`", f"`{group}`", f"{dead.retention_ms // DAY_MS} days")
        for (topic, group), dead in DEAD_LETTERS.items()
    ]
    return _table(("dead letter topic", "of records on", "refused by group", "retention"), rows)


def _applications(action: str, topic: Topic) -> str:
    return ", ".join(
        each.application + (f" (group `{each.group}`)" if each.group else "")
        for each in OPERATIONS
        if each.action == action and each.topic == topic
    )


def _messages() -> str:
    parts = []
    for topic in TOPICS:
        parts.append(f"### `{topic.name}`")
        for name in messages_on(topic):
            model = EVENT_TYPES[f"meterhall.{name}"]
            parts.append(f"#### {model.__name__}\n\n{' '.join((model.__doc__ or '').split())}")
            parts.append("\n\n".join(_fields(model)))
    return "\n\n".join(parts)


def _fields(model: type[Event]) -> Iterator[str]:
    schema = schema_of(model)
    yield _field_table(schema)
    for name, part in schema.get("$defs", {}).items():
        yield f"`{name}`: {part['description']}"
        yield _field_table(part)


def _field_table(schema: dict[str, Any]) -> str:
    needed = schema.get("required", [])
    rows = [
        (
            f"`{name}`",
            type_of(field),
            "always" if name in needed else "optional",
            _meaning(field),
        )
        for name, field in schema["properties"].items()
    ]
    return _table(("field", "type", "present", "meaning"), rows)


def _meaning(field: dict[str, Any]) -> str:
    if "description" in field:
        return str(field["description"])
    parts = field.get("anyOf", ())
    return next((_meaning(each) for each in parts if "description" in each), "")


def _table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(each)} |" for each in lines)
