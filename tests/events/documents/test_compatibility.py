"""Every kind of breaking change is refused, every additive one passes and is readable in both directions."""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from events import EVENT_TYPES
from events.documents.compatibility import breaches, topic_breaches
from events.documents.json_schema import schema_of
from events.schema import topics
from tests.events.instances import instances

Schema = dict[str, Any]
Change = Callable[[Schema], object]

BASE: Schema = {
    "type": "object",
    "title": "Paid",
    "description": "A bill was paid.",
    "properties": {
        "id": {"type": "string", "format": "uuid"},
        "code": {"type": "string", "pattern": "^[A-Z]{3}$", "maxLength": 3},
        "amount": {"type": "integer", "exclusiveMinimum": 0, "maximum": 100},
        "rule": {"type": "string", "enum": ["exact", "any"]},
        "kind": {"type": "string", "const": "paid"},
        "note": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "parts": {"type": "array", "items": {"$ref": "#/$defs/Part"}},
        "funding": {
            "oneOf": [{"$ref": "#/$defs/Wallet"}, {"$ref": "#/$defs/Part"}],
            "discriminator": {
                "propertyName": "kind",
                "mapping": {"w": "#/$defs/Wallet", "p": "#/$defs/Part"},
            },
        },
    },
    "required": ["id", "code", "amount", "rule", "kind", "parts", "funding"],
    "$defs": {
        "Part": {
            "type": "object",
            "properties": {
                "kind": {"type": "string", "const": "p"},
                "share": {"type": "integer", "minimum": 1},
            },
            "required": ["kind", "share"],
        },
        "Wallet": {
            "type": "object",
            "properties": {"kind": {"type": "string", "const": "w"}},
            "required": ["kind"],
        },
    },
}


def field(name: str, **keywords: Any) -> Change:
    return lambda schema: schema["properties"][name].update(keywords)


def without(name: str, keyword: str) -> Change:
    return lambda schema: schema["properties"][name].pop(keyword)


def add(name: str, schema_of_field: Schema) -> Change:
    return lambda schema: schema["properties"].update({name: schema_of_field})


def part(**keywords: Any) -> Change:
    return lambda schema: schema["$defs"]["Part"]["properties"]["share"].update(keywords)


def both(*changes: Change) -> Change:
    return lambda schema: [each(schema) for each in changes]


def require(name: str) -> Change:
    return lambda schema: schema["required"].append(name)


def make_optional(name: str) -> Change:
    return lambda schema: schema["required"].remove(name)


def drop(name: str) -> Change:
    return lambda schema: schema["properties"].pop(name)


BREAKING: dict[str, tuple[Change, str]] = {
    "an optional field is removed": (drop("note"), "value.note: the field is removed"),
    "a field is removed": (both(drop("code"), make_optional("code")), "value.code: the field is removed"),
    "a field is renamed": (
        both(drop("note"), add("remark", {"type": "string"})),
        "value.note: the field is removed",
    ),
    "a new field is required": (both(add("payer", {"type": "string"}), require("payer")), "payer: the field is new"),
    "a field becomes required": (require("note"), "was optional and is required"),
    "a field becomes optional": (make_optional("code"), "was required and is optional"),
    "another type": (field("amount", type="string"), "value.amount: type"),
    "a wider type": (field("amount", type="number"), "value.amount: type"),
    "another format": (field("id", format="date"), "value.id: format"),
    "no format any more": (without("id", "format"), "value.id: format"),
    "a narrower enum": (field("rule", enum=["exact"]), "value.rule: enum"),
    "a wider enum": (field("rule", enum=["exact", "any", "range"]), "value.rule: enum"),
    "no enum any more": (without("rule", "enum"), "value.rule: enum"),
    "another constant": (field("kind", const="pays"), "value.kind: const"),
    "another pattern": (field("code", pattern="^[A-Z]{2}$"), "value.code: pattern"),
    "a new pattern": (field("note", pattern="^x"), "value.note: pattern"),
    "no pattern any more": (without("code", "pattern"), "value.code: pattern"),
    "a lower maximum": (field("amount", maximum=99), "value.amount: maximum"),
    "a higher maximum": (field("amount", maximum=101), "value.amount: maximum"),
    "no maximum any more": (without("amount", "maximum"), "value.amount: maximum"),
    "a higher minimum": (field("amount", exclusiveMinimum=1), "value.amount: exclusiveMinimum"),
    "a shorter text": (field("code", maxLength=2), "value.code: maxLength"),
    "a longest list": (field("parts", maxItems=3), "value.parts: maxItems"),
    "a new divisor": (field("amount", multipleOf=5), "value.amount: multipleOf"),
    "another default": (field("note", default="none"), "value.note: default"),
    "null is not allowed any more": (field("note", anyOf=[{"type": "string"}]), "had 2 alternatives"),
    "an alternative changes": (
        field("note", anyOf=[{"type": "integer"}, {"type": "null"}]),
        "value.note<anyOf 1>: type",
    ),
    "a list of something else": (field("parts", items={"type": "string"}), "value.parts[]"),
    "a list of anything": (without("parts", "items"), "value.parts: the items of the list"),
    "a field deep inside": (part(minimum=2), "value.parts[].share: minimum"),
    "a new kind of funding": (
        lambda schema: schema["properties"]["funding"]["oneOf"].append({"type": "object"}),
        "value.funding: oneOf had 2 alternatives and has 3",
    ),
    "unknown fields are forbidden": (
        lambda schema: schema.update(additionalProperties=False),
        "value: additionalProperties",
    ),
}  # fmt: skip

ADDITIVE: dict[str, Change] = {
    "nothing": lambda schema: None,
    "an optional field": add("remark", {"type": "string", "default": ""}),
    "an optional object": add("details", {"$ref": "#/$defs/Part"}),
    "an optional field deep inside": lambda schema: schema["$defs"]["Part"]["properties"].update(
        {"label": {"type": "string"}}
    ),
    "another title and description": lambda schema: schema.update(
        title="Bill paid", description="Better."
    ),
    "a description of a field": field("amount", description="minor units", examples=[1]),
    "fields in another order": lambda schema: schema.update(
        properties=dict(reversed(schema["properties"].items())),
        required=list(reversed(schema["required"])),
    ),
    "an enum in another order": lambda schema: schema["properties"]["rule"]["enum"].reverse(),
    "a definition under another name": lambda schema: (
        schema["$defs"].update(Share=schema["$defs"]["Part"]),
        schema["properties"]["parts"].update(items={"$ref": "#/$defs/Share"}),
    ),
    "a definition written out": lambda schema: schema["properties"]["parts"].update(
        items=schema["$defs"]["Part"]
    ),
}


@pytest.mark.parametrize("kind", BREAKING)
def test_a_breaking_change_is_refused_with_its_place(kind: str) -> None:
    change, expected = BREAKING[kind]
    assert any(expected in line for line in breaches(BASE, changed(BASE, change)))


@pytest.mark.parametrize("kind", sorted(BREAKING.keys() - {"an optional field is removed"}))
def test_the_reverse_of_a_breaking_change_is_refused(kind: str) -> None:
    """Two versions run side by side, so a change must be compatible in both directions."""
    change, _ = BREAKING[kind]
    assert breaches(changed(BASE, change), BASE)


@pytest.mark.parametrize("kind", ADDITIVE)
def test_an_additive_change_passes(kind: str) -> None:
    assert breaches(BASE, changed(BASE, ADDITIVE[kind])) == []


SEVERAL = st.lists(st.sampled_from(list(ADDITIVE.values())), max_size=5)


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_additive_changes_together_are_readable_in_both_directions(data: st.DataObject) -> None:
    new = BASE
    for change in data.draw(SEVERAL):
        new = changed(new, change)
    assert breaches(BASE, new) == []
    assert not errors(new, data.draw(instances(BASE, BASE)))
    assert not errors(BASE, data.draw(instances(new, new)))


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(additive=SEVERAL, breaking=st.sampled_from([each for each, _ in BREAKING.values()]))
def test_no_additive_change_hides_a_breaking_one(additive: list[Change], breaking: Change) -> None:
    new = BASE
    for change in (*additive, breaking):
        new = changed(new, change)
    assert breaches(BASE, new)


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_removing_any_keyword_of_a_real_schema_is_refused(ce_type: str) -> None:
    """Remove each keyword of a real schema, wherever it is."""
    schema = schema_of(EVENT_TYPES[ce_type])
    assert breaches(schema, copy.deepcopy(schema)) == []
    paths = list(_paths(schema))
    for *parents, keyword in paths:
        without: Any = copy.deepcopy(schema)
        holder = without
        for step in parents:
            holder = holder[step]
        del holder[keyword]
        assert breaches(schema, without), f"the removal of {parents} {keyword} is not reported"
    assert len(paths) > 10


def _paths(schema: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    # The paths of all keywords except descriptions.
    if not isinstance(schema, dict | list):
        return
    for step in schema if isinstance(schema, dict) else range(len(schema)):
        if step in {"$id", "$schema", "title", "description", "discriminator"}:
            continue
        yield from _paths(schema[step], (*path, step))
        if step != "$defs" and path != ("$defs",):
            yield (*path, step)


TOPIC = "billing.payment.events.v1"
TOPIC_BREAKS: dict[str, tuple[Change, str]] = {
    "a topic is gone": (lambda contract: contract["topics"].pop(TOPIC), "the topic is removed"),
    "more partitions": (lambda contract: contract["topics"][TOPIC].update(partitions=24), "partitions was 12"),
    "another key": (lambda contract: contract["topics"][TOPIC].update(key="account_id"), "key was"),
    "another source": (lambda contract: contract["topics"][TOPIC].update(source="x"), "source was"),
    "another code": (lambda contract: contract["topics"][TOPIC].update(code=99), "code was 4"),
    "a code is used again": (
        lambda contract: contract["topics"].update({"new.v1": {**contract["topics"][TOPIC]}}),
        "code 4 belonged to",
    ),
    "a message is gone": (
        lambda contract: contract["messages"].pop("meterhall.PaymentSucceeded.v1"),
        "the message is removed",
    ),
    "a message moves": (
        lambda contract: contract["messages"]["meterhall.PaymentSucceeded.v1"].update(topic="elsewhere"),
        "topic was",
    ),
    "a message has another key": (
        lambda contract: contract["messages"]["meterhall.PaymentSucceeded.v1"].update(key="bill_id"),
        "key was 'payment_id'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", TOPIC_BREAKS)
def test_a_breaking_change_of_topics_is_refused(kind: str) -> None:
    change, expected = TOPIC_BREAKS[kind]
    assert any(expected in line for line in topic_breaches(topics(), changed(topics(), change)))


def test_a_new_topic_a_new_message_and_a_longer_retention_pass() -> None:
    new = topics()
    new["topics"]["billing.payment.events.v2"] = {**new["topics"][TOPIC], "code": 50}
    new["messages"]["meterhall.PaymentSucceeded.v2"] = {
        "topic": "billing.payment.events.v2",
        "key": "payment_id",
    }
    new["topics"][TOPIC]["retention_ms"] *= 2
    assert topic_breaches(topics(), new) == []


def changed(schema: Schema, change: Change) -> Schema:
    new = copy.deepcopy(schema)
    change(new)
    return new


def errors(schema: Schema, value: Any) -> list[str]:
    return [each.message for each in Draft202012Validator(schema).iter_errors(value)]
