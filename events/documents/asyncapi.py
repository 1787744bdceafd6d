"""The AsyncAPI 3.0 document of the contract, from the same models and topics as everything else.

It describes the system, not one program, so each operation has its actor in its name and tag: wallet, billing,
notifications or operators.
"""

from typing import Any, NamedTuple

from events import EVENT_TYPES
from events.documents.json_schema import schema_of
from events.envelope import CONTENT_TYPE
from events.message import Event
from events.signature import HEADER as SIGNATURE
from events.topics import (
    ALL_TOPICS,
    COMMAND_TOPICS,
    DEAD_LETTERS,
    DELIVERY_EVENTS,
    LOOKUP_COMMANDS,
    LOOKUP_EVENTS,
    LOOKUP_GROUP,
    NOTIFICATIONS_GROUP,
    PAYMENT_COMMANDS,
    PAYMENT_EVENTS,
    PAYMENT_GROUP,
    RECEIPT_EVENTS,
    TOPICS,
    Topic,
)

VERSION = "1.0.0"  # of the contract: a release that adds something raises the middle number
KAFKA = "0.5.0"  # of AsyncAPI's Kafka bindings
DEAD_LETTER = "DeadLetter"


class Operation(NamedTuple):
    """An actor's operation on a topic. `group` is the consumer group, if it is one of ours."""

    application: str
    action: str
    topic: Topic
    group: str | None = None

    @property
    def name(self) -> str:
        return f"{self.application}.{self.action}.{self.topic.name}"


OPERATIONS = (
    Operation("wallet", "send", LOOKUP_COMMANDS),
    Operation("wallet", "receive", LOOKUP_EVENTS),
    Operation("wallet", "send", PAYMENT_COMMANDS),
    Operation("wallet", "receive", PAYMENT_EVENTS),
    Operation("wallet", "receive", RECEIPT_EVENTS),
    Operation("wallet", "receive", DELIVERY_EVENTS),
    # A request by HTTP becomes a command, too.
    Operation("billing", "send", LOOKUP_COMMANDS),
    Operation("billing", "receive", LOOKUP_COMMANDS, LOOKUP_GROUP),
    Operation("billing", "send", LOOKUP_EVENTS),
    Operation("billing", "send", PAYMENT_COMMANDS),
    Operation("billing", "receive", PAYMENT_COMMANDS, PAYMENT_GROUP),
    Operation("billing", "send", PAYMENT_EVENTS),
    Operation("billing", "send", RECEIPT_EVENTS),
    Operation("notifications", "receive", PAYMENT_EVENTS, NOTIFICATIONS_GROUP),
    Operation("notifications", "receive", RECEIPT_EVENTS, NOTIFICATIONS_GROUP),
    Operation("notifications", "send", DELIVERY_EVENTS),
    *(Operation("operators", "receive", topic) for topic in DEAD_LETTERS.values()),
)


def document() -> dict[str, Any]:
    """Return the whole document."""
    messages = {DEAD_LETTER: _dead_letter()}
    schemas: dict[str, Any] = {}
    for model in EVENT_TYPES.values():
        schema = schema_of(model, ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[name_of(model)] = schema
        messages[name_of(model)] = _message(model)
    return {
        "asyncapi": "3.0.0",
        "id": "urn:meterhall:events",
        "info": {
            "title": "Meterhall",
            "version": VERSION,
            "description": "Commands and events on Kafka, as CloudEvents 1.0 in binary mode.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE.decode(),
        "channels": {topic.name: _channel(topic) for topic in ALL_TOPICS},
        "operations": {each.name: _operation(each) for each in OPERATIONS},
        "components": {
            "messages": messages,
            "schemas": {name: _for_asyncapi(schema) for name, schema in sorted(schemas.items())},
        },
    }


def name_of(model: type[Event]) -> str:
    """Return a message's name in the document: `PayBill.v1`."""
    return f"{model.__name__}.v{model.major}"


def messages_on(topic: Topic) -> list[str]:
    """Return the names of the messages on a topic."""
    if topic not in TOPICS:
        return [DEAD_LETTER]
    return [name_of(model) for model in EVENT_TYPES.values() if model.topic == topic]


def keys_of(topic: Topic) -> str:
    """Return what the record key may be: a topic has the id of one kind of aggregate, or of two."""
    models = [model for model in EVENT_TYPES.values() if model.topic == topic]
    return " or ".join(dict.fromkeys(f"`{model.key_field}`" for model in models))


def _channel(topic: Topic) -> dict[str, Any]:
    return {
        "address": topic.name,
        "description": f"The record key is {keys_of(topic)}; records of one key stay in order."
        if topic in TOPICS
        else "Records that a consumer could not use, for a person to look at.",
        "messages": {
            name: {"$ref": f"#/components/messages/{name}"} for name in messages_on(topic)
        },
        "bindings": {
            "kafka": {
                "topic": topic.name,
                "partitions": topic.partitions,
                "topicConfiguration": {
                    "cleanup.policy": ["delete"],
                    "retention.ms": topic.retention_ms,
                },
                "bindingVersion": KAFKA,
            }
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    channel = f"#/channels/{operation.topic.name}"
    described: dict[str, Any] = {
        "action": operation.action,
        "channel": {"$ref": channel},
        "tags": [{"name": operation.application}],
        "messages": [
            {"$ref": f"{channel}/messages/{name}"} for name in messages_on(operation.topic)
        ],
    }
    if operation.group:
        group = {"type": "string", "enum": [operation.group]}
        described["bindings"] = {"kafka": {"groupId": group, "bindingVersion": KAFKA}}
    return described


def _message(model: type[Event]) -> dict[str, Any]:
    return {
        "name": model.ce_type(),
        "title": model.__name__,
        "summary": " ".join((model.__doc__ or "").split()),
        "contentType": CONTENT_TYPE.decode(),
        "headers": _headers(model),
        "correlationId": {"location": "$message.header#/correlation_id"},
        "payload": {"$ref": f"#/components/schemas/{name_of(model)}"},
        "bindings": {
            "kafka": {
                "key": {"type": "string", "format": "uuid", "description": model.key_field},
                "bindingVersion": KAFKA,
            }
        },
    }


def _headers(model: type[Event]) -> dict[str, Any]:
    text = {"type": "string"}
    headers: dict[str, dict[str, str | list[str]]] = {
        "ce_specversion": {**text, "const": "1.0"},
        "ce_id": {
            **text,
            "format": "uuid",
            "description": "the same when the record is sent again",
        },
        "ce_source": {**text, "examples": [model.topic.source]},
        "ce_type": {**text, "const": model.ce_type()},
        "ce_subject": {**text, "description": f"the same as the record key: {model.key_field}"},
        "ce_time": {**text, "format": "date-time"},
        "ce_sequence": {
            **text,
            "pattern": "^[0-9]+$",
            "description": "the aggregate's version, from 1",
        },
        "content-type": {**text, "const": CONTENT_TYPE.decode()},
        "traceparent": {**text, "description": "W3C Trace Context"},
        "correlation_id": {**text, "description": "given by the caller"},
    }
    # A command may come from any CloudEvents client, so it needs only these headers and a signature.
    required = ["ce_specversion", "ce_id", "ce_source", "ce_type"]
    if model.topic in COMMAND_TOPICS:
        headers[SIGNATURE] = {
            **text,
            "pattern": "^k=[A-Za-z0-9-]{1,40},v1=[0-9a-f]{64}$",
            "description": "HMAC-SHA256 of `v1`, topic, record key, ce_id and ce_type, one per line, and the value",
        }
        required.append(SIGNATURE)
    else:
        required += ["ce_subject", "ce_time", "ce_sequence", "content-type"]
    return {"type": "object", "required": required, "properties": headers}


def _dead_letter() -> dict[str, Any]:
    headers = {
        "dlq-id": "the same id for the same record of the same group",
        "dlq-topic": "the position of the record",
        "dlq-partition": "the position of the record",
        "dlq-offset": "the position of the record",
        "dlq-timestamp": "the record's timestamp, in Unix milliseconds",
        "dlq-group": "the consumer group that could not use it",
        "dlq-reason": "a short code",
        "dlq-text": "the error, without the record's content",
        "dlq-attempts": "the number of attempts",
        "dlq-first-failed-at": "the time of the first failure",
        "dlq-omitted": "the parts that were too large to be stored or could not be read",
    }
    return {
        "name": DEAD_LETTER,
        "title": DEAD_LETTER,
        "summary": "The original record: its key, value and headers unchanged, with headers that describe the error.",
        "headers": {
            "type": "object",
            "required": [name for name in headers if name != "dlq-omitted"],
            "properties": {
                name: {"type": "string", "description": text} for name, text in headers.items()
            },
        },
        "payload": {"description": "the original value"},
    }


def _for_asyncapi(schema: Any) -> Any:
    # AsyncAPI's own dialect is a superset of draft 7: it has another `discriminator`, and neither $schema nor $id here.
    if isinstance(schema, dict):
        left_out = ("$schema", "$id", "discriminator")
        return {key: _for_asyncapi(value) for key, value in schema.items() if key not in left_out}
    return [_for_asyncapi(each) for each in schema] if isinstance(schema, list) else schema
