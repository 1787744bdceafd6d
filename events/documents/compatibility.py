"""The check that a change is compatible: nothing may break a reader or a writer of the last release.

Both directions count, because both versions run side by side during every deployment: the new reader reads the old
writer's messages, and the old reader the new writer's. Allowed are a new optional field, a new message, a new topic
and better wording. Even a wider enum or bound is refused, because an old reader would turn the new value into a dead
letter. Any larger change is a new major version beside the old one.
"""

from collections.abc import Iterator, Mapping
from typing import Any

# Keywords for people; a change of them breaks nothing.
_WORDS = frozenset({"$schema", "$id", "$defs", "title", "description", "examples", "deprecated"})
# Keywords that contain schemas; these are compared in turn.
_PARTS = frozenset({"properties", "required", "items", "anyOf", "oneOf", "discriminator", "$ref"})
# The properties of a topic that are contract. Retention is not: an operator may lengthen it.
_TOPIC_FACTS = ("code", "partitions", "key", "source")


def breaches(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return what the new JSON Schema of a message breaks, one line each: place and change. Empty means compatible."""
    return list(_compare(_Schema(old, old), _Schema(new, new), "value"))


def topic_breaches(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """Return the same for topics.json: a topic's name, partitions, key, and the messages that belong on it."""
    return [*_topics(old["topics"], new["topics"]), *_messages(old["messages"], new["messages"])]


class _Schema:
    """A schema inside its document; references are resolved at construction."""

    def __init__(self, schema: Any, document: Mapping[str, Any]) -> None:
        self.keywords: dict[str, Any] = (
            dict(schema) if isinstance(schema, Mapping) else {"": schema}
        )
        self.document = document
        seen = 0
        while "$ref" in self.keywords:
            # A reference and the keywords beside it hold both (2020-12 §8.2.3.1).
            target = document["$defs"][self.keywords.pop("$ref").rsplit("/", 1)[1]]
            self.keywords = {**target, **self.keywords}
            seen += 1
            assert seen < 10, "the schema refers to itself"

    def part(self, schema: Any) -> "_Schema":
        return _Schema(schema, self.document)


def _compare(old: _Schema, new: _Schema, at: str) -> Iterator[str]:
    for keyword in sorted((old.keywords.keys() | new.keywords.keys()) - _WORDS - _PARTS):
        before, after = old.keywords.get(keyword), new.keywords.get(keyword)
        if (keyword in old.keywords) != (keyword in new.keywords) or not _same(
            keyword, before, after
        ):
            yield f"{at}: {keyword} was {_printable(before)} and is {_printable(after)}"
    if "properties" in old.keywords or "properties" in new.keywords:
        yield from _fields(old, new, at)
    if "items" in old.keywords and "items" in new.keywords:
        yield from _compare(
            old.part(old.keywords["items"]), new.part(new.keywords["items"]), f"{at}[]"
        )
    elif "items" in old.keywords or "items" in new.keywords:
        yield f"{at}: the items of the list are declared in only one of the two"
    for keyword in ("anyOf", "oneOf"):
        yield from _alternatives(old, new, keyword, at)


def _fields(old: _Schema, new: _Schema, at: str) -> Iterator[str]:
    before, after = old.keywords.get("properties", {}), new.keywords.get("properties", {})
    needed_before, needed_after = (set(each.keywords.get("required", ())) for each in (old, new))
    for name in before.keys() - after.keys():
        yield f"{at}.{name}: the field is removed"
    for name in sorted(before.keys() & after.keys()):
        if name in needed_after - needed_before:
            yield f"{at}.{name}: the field was optional and is required"
        if name in needed_before - needed_after:
            yield f"{at}.{name}: the field was required and is optional"
        yield from _compare(old.part(before[name]), new.part(after[name]), f"{at}.{name}")
    for name in sorted((after.keys() | needed_after) - before.keys()):
        if name in needed_after:
            yield f"{at}.{name}: the field is new and required"


def _alternatives(old: _Schema, new: _Schema, keyword: str, at: str) -> Iterator[str]:
    before, after = (
        [each.part(part) for part in each.keywords.get(keyword, ())] for each in (old, new)
    )
    if len(before) != len(after):
        yield f"{at}: {keyword} had {len(before)} alternatives and has {len(after)}"
        return
    for number, (one, other) in enumerate(zip(before, after, strict=True), 1):
        yield from _compare(one, other, f"{at}<{keyword} {number}>")


def _same(keyword: str, before: Any, after: Any) -> bool:
    if keyword in {"enum", "type"} and isinstance(before, list) and isinstance(after, list):
        return sorted(map(repr, before)) == sorted(map(repr, after))
    return type(before) is type(after) and bool(before == after)


def _printable(value: Any) -> str:
    return "nothing" if value is None else repr(value)


def _topics(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    codes = {facts["code"]: name for name, facts in old.items()}
    for name, before in old.items():
        if name not in new:
            yield f"{name}: the topic is removed"
            continue
        for fact in _TOPIC_FACTS:
            if new[name][fact] != before[fact]:
                yield f"{name}: {fact} was {before[fact]!r} and is {new[name][fact]!r}"
    for name, after in new.items():
        if name not in old and after["code"] in codes:
            yield f"{name}: code {after['code']} belonged to {codes[after['code']]}"


def _messages(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[str]:
    for ce_type, before in old.items():
        if ce_type not in new:
            yield f"{ce_type}: the message is removed"
            continue
        for fact in ("topic", "key"):
            if new[ce_type][fact] != before[fact]:
                yield f"{ce_type}: {fact} was {before[fact]!r} and is {new[ce_type][fact]!r}"
