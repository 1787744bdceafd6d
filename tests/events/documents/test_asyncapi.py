"""The AsyncAPI document is consistent and complete, and FastStream can read it."""

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
# AsyncAPI 3.0.0, "Components Object": the characters of a name.
NAME = re.compile(r"^[a-zA-Z0-9.\-_]+$")


def test_faststream_can_read_the_document() -> None:
    ApplicationSchema.model_validate(DOCUMENT)


def test_every_reference_resolves() -> None:
    references = list(_references(DOCUMENT))
    assert len(references) > 100
    for each in references:
        assert _follow(each) is not None


def test_names_conform_to_the_standard() -> None:
    for part in (
        DOCUMENT["channels"],
        DOCUMENT["operations"],
        DOCUMENT["components"]["messages"],
        DOCUMENT["components"]["schemas"],
    ):
        assert part
        assert all(NAME.match(name) for name in part)


def test_every_topic_is_a_channel_with_its_provisioned_settings() -> None:
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


def test_every_topic_has_a_writer_and_a_reader() -> None:
    for topic in TOPICS:
        actions = {each.action for each in asyncapi.OPERATIONS if each.topic == topic}
        assert actions == {"send", "receive"}, topic.name
    groups = {(each.topic.name, each.group) for each in asyncapi.OPERATIONS if each.group}
    assert groups == DEAD_LETTERS.keys(), "each consumer group of ours has a dead letter topic"


@pytest.mark.parametrize("ce_type", sorted(EVENT_TYPES))
def test_written_headers_conform_to_the_document(ce_type: str) -> None:
    model = EVENT_TYPES[ce_type]
    described = DOCUMENT["components"]["messages"][asyncapi.name_of(model)]["headers"]
    Draft7Validator.check_schema(described)
    signature = f"k=door,v1={'0' * 64}" if model.topic in COMMAND_TOPICS else None
    written = headers(
        *(uuid7(), ce_type, model.topic.source, "key", datetime.now(UTC), 1, "00-1-2-01", "mine"),
        signature=signature,
    )
    decoded = {name: value.decode() for name, value in written}
    Draft7Validator(described).validate(decoded)
    assert decoded.keys() == described["properties"].keys()


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
    value = data.draw(instances(schema, schema))
    assert not list(Draft202012Validator(payload).iter_errors(value))
    value.pop(EVENT_TYPES[ce_type].key_field)
    assert list(Draft202012Validator(payload).iter_errors(value))


def test_the_document_has_no_hosts_and_no_secrets() -> None:
    text = json.dumps(DOCUMENT)
    assert "servers" not in DOCUMENT, (
        "the address of Kafka belongs to a deployment, not to the contract"
    )
    assert not re.search(r"https?://|127\.0\.0\.1|localhost|password|secret", text)


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        own = [part["$ref"]] if isinstance(part.get("$ref"), str) else []
        return own + [each for inner in part.values() for each in _references(inner)]
    if isinstance(part, list):
        return [each for inner in part for each in _references(inner)]
    return []


def _follow(reference: str) -> Any:
    target: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        target = target[step]
    return target
