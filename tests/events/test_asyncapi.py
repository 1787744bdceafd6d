"""The AsyncAPI document is sound in itself, is one for FastStream's reader, too, and leaves nothing out."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator, Draft202012Validator

from events import EVENT_TYPES
from events.documents import asyncapi
from events.documents.json_schema import schema_of
from events.envelope import headers
from events.ids import uuid7
from events.topics import ALL_TOPICS, COMMAND_TOPICS, DEAD_LETTERS, TOPICS
from tests.events.instances import instances

DOCUMENT = asyncapi.document()
# AsyncAPI 3.0.0, "Components Object": what a name may be made of.
NAME = re.compile(r"^[a-zA-Z0-9.\-_]+$")


def test_another_reader_of_the_standard_takes_it() -> None:
    ApplicationSchema.model_validate(DOCUMENT)


def test_every_reference_leads_somewhere() -> None:
    references = list(_references(DOCUMENT))
    assert len(references) > 100
    for each in references:
        assert _follow(each) is not None


def test_names_are_what_the_standard_allows() -> None:
    for part in (
        DOCUMENT["channels"],
        DOCUMENT["operations"],
        DOCUMENT["components"]["messages"],
        DOCUMENT["components"]["schemas"],
    ):
        assert part
        assert all(NAME.match(name) for name in part)


def test_every_topic_is_a_channel_as_it_is_provisioned() -> None:
    assert {each["address"] for each in DOCUMENT["channels"].values()} == {
        topic.name for topic in ALL_TOPICS
    }
    for topic in ALL_TOPICS:
        kafka = DOCUMENT["channels"][topic.name]["bindings"]["kafka"]
        assert kafka["partitions"] == topic.partitions
        assert kafka["topicConfiguration"]["retention.ms"] == topic.retention_ms


def test_every_message_is_on_its_topic_and_on_no_other() -> None:
    places = {
        name: channel["address"]
        for channel in DOCUMENT["channels"].values()
        for name in channel["messages"]
        if name != asyncapi.DEAD_LETTER
    }
    assert places == {asyncapi.name_of(model): model.topic.name for model in EVENT_TYPES.values()}


def test_operations_name_messages_of_their_own_channel_only() -> None:
    for operation in DOCUMENT["operations"].values():
        channel = operation["channel"]["$ref"]
        assert operation["action"] in {"send", "receive"}
        assert operation["messages"]
        assert all(
            each["$ref"].startswith(f"{channel}/messages/") for each in operation["messages"]
        )


def test_every_topic_is_written_and_read_by_somebody() -> None:
    for topic in TOPICS:
        actions = {each.action for each in asyncapi.OPERATIONS if each.topic == topic}
        assert actions == {"send", "receive"}, topic.name
    groups = {(each.topic.name, each.group) for each in asyncapi.OPERATIONS if each.group}
    assert groups == DEAD_LETTERS.keys(), "who reads with a group of ours has a dead letter topic"


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_the_headers_that_we_write_are_those_that_we_describe(ce_type: str) -> None:
    model = EVENT_TYPES[ce_type]
    described = DOCUMENT["components"]["messages"][asyncapi.name_of(model)]["headers"]
    Draft7Validator.check_schema(described)
    signature = f"k=door,v1={'0' * 64}" if model.topic in COMMAND_TOPICS else None
    written = headers(
        *(uuid7(), ce_type, model.topic.source, "key", datetime.now(UTC), 1, "00-1-2-01", "mine"),
        signature=signature,
    )
    said = {name: value.decode() for name, value in written}
    Draft7Validator(described).validate(said)
    assert said.keys() == described["properties"].keys()


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_the_payload_is_the_committed_schema_in_the_dialect_of_asyncapi(
    ce_type: str, data: st.DataObject
) -> None:
    schema = schema_of(EVENT_TYPES[ce_type])
    name = asyncapi.name_of(EVENT_TYPES[ce_type])
    payload = {
        "$ref": f"#/components/schemas/{name}",
        "components": {"schemas": DOCUMENT["components"]["schemas"]},
    }
    Draft7Validator.check_schema(DOCUMENT["components"]["schemas"][name])
    said = data.draw(instances(schema, schema))
    assert not list(Draft202012Validator(payload).iter_errors(said))
    said.pop(EVENT_TYPES[ce_type].key_field)
    assert list(Draft202012Validator(payload).iter_errors(said))


def test_nothing_in_it_is_of_this_machine_or_a_secret() -> None:
    text = json.dumps(DOCUMENT)
    assert "servers" not in DOCUMENT, "where Kafka is, is the deployment's business"
    assert not re.search(r"https?://|127\.0\.0\.1|localhost|password|secret", text)


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [each for inner in part.values() for each in _references(inner)]
    if isinstance(part, list):
        return [each for inner in part for each in _references(inner)]
    return []


def _follow(reference: str) -> Any:
    found: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        found = found[step]
    return found
