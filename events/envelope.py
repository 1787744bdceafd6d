"""The envelope: CloudEvents 1.0 in Kafka's binary mode.

Attributes travel as `ce_` headers, the model as JSON in the value, the aggregate's id as the key (cloudevents/spec,
Kafka protocol binding §3.2). `traceparent` and `correlation_id` travel raw, as OpenTelemetry and FastStream read
them. They are optional, so one that cannot be stored is dropped: a record must not fail for the sake of an optional
header.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache, lru_cache
from typing import NamedTuple
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from events import bounds
from events.message import EVENT_TYPES, Event
from events.signature import HEADER as SIGNATURE

Header = tuple[str, bytes]
CONTENT_TYPE = b"application/json"
# The outbox has the same limit: Kafka's default for a batch is 1 MiB.
LARGEST_VALUE_BYTES = 900_000
# Parses a UUID as JSON does, in a fifth of the time of UUID().
_uuid_in = TypeAdapter(UUID).validator.validate_python


class ContractError(Exception):
    """A record that violates the contract. `code` is short and stable; the text says what is wrong."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class Decoded(NamedTuple):
    """A record's envelope and its model.

    `headers` has the last header of each name, unchanged. `dropped` names the optional headers that cannot be stored.
    """

    id: UUID
    type: str
    event: Event
    traceparent: str | None
    correlation_id: str | None
    headers: Mapping[str, bytes | None]
    dropped: tuple[str, ...] = ()


def headers(  # noqa: PLR0917
    id: UUID,
    ce_type: str,
    source: str,
    subject: str,
    time: datetime,
    sequence: int,
    traceparent: str | None = None,
    correlation_id: str | None = None,
    signature: str | None = None,
) -> list[Header]:
    """Return the headers of one record, in a fixed order. `sequence` is the aggregate's version, from 1.

    `signature` is a command's (events/signature.py); events have none.
    """
    written = [
        _SPECVERSION,
        ("ce_id", str(id).encode()),
        _source(source),
        _type(ce_type),
        ("ce_subject", subject.encode()),
        _time(time),
        ("ce_sequence", b"%d" % sequence),
        _CONTENT_TYPE,
    ]
    if traceparent:
        written.append(("traceparent", traceparent.encode()))
    if correlation_id:
        written.append(("correlation_id", correlation_id.encode()))
    if signature:
        written.append((SIGNATURE, signature.encode()))
    return written


# The relay writes these thousands of times a second, and most of them are equal.
_SPECVERSION: Header = ("ce_specversion", b"1.0")
_CONTENT_TYPE: Header = ("content-type", CONTENT_TYPE)


@cache
def _source(source: str) -> Header:
    return ("ce_source", source.encode())


@cache
def _type(ce_type: str) -> Header:
    return ("ce_type", ce_type.encode())


@lru_cache(256)
def _time(time: datetime) -> Header:
    return ("ce_time", time.isoformat().encode())


def decode(
    topic: str, key: bytes | None, value: bytes | None, raw_headers: Sequence[Header]
) -> Decoded:
    """Decode one record of `topic`. Raises ContractError when it violates the contract."""
    if value is None:
        raise ContractError("tombstone", "the record has no value")
    if len(value) > LARGEST_VALUE_BYTES:
        raise ContractError(
            "too_large", f"{len(value)} bytes; at most {LARGEST_VALUE_BYTES} are allowed"
        )
    by_name = dict(raw_headers)  # only the headers used here are decoded
    try:
        # A header may exist without a value.
        ce_type = (by_name.get("ce_type") or b"").decode()
        ce_id = (by_name.get("ce_id") or b"").decode()
    except UnicodeDecodeError as error:
        raise ContractError("bad_header", "ce_type and ce_id must be UTF-8") from error
    model = EVENT_TYPES.get(ce_type)
    if model is None or model.topic.name != topic:
        raise ContractError("unknown_type", f"ce_type {ce_type!r} does not belong on {topic}")
    try:
        id = _uuid_in(ce_id)
    except ValueError as error:
        raise ContractError("bad_id", "the header ce_id must be a UUID") from error
    try:
        event = model.model_validate_json(value)
    except ValidationError as error:
        raise ContractError("bad_value", _explain(error)) from error
    if key is not None and not _is_key_of(key, getattr(event, model.key_field)):
        raise ContractError("bad_key", f"the record key must be {model.key_field}")
    traceparent, correlation_id, dropped = _optional_headers(by_name)
    return Decoded(id, ce_type, event, traceparent, correlation_id, by_name, dropped)


def _is_key_of(key: bytes, id: UUID | str) -> bool:
    """Return True when the key is this id. A UUID may be written as in JSON: in capitals, or without hyphens."""
    if not isinstance(id, UUID):
        return key == id.encode()
    try:
        return bool(_uuid_in(key.decode()) == id)
    except ValueError:
        return False


def _optional_headers(
    by_name: Mapping[str, bytes | None],
) -> tuple[str | None, str | None, tuple[str, ...]]:
    """Return the optional headers that can be stored, and the names of those that cannot."""
    dropped: tuple[str, ...] = ()
    traceparent = correlation_id = None
    if raw := by_name.get("traceparent"):
        traceparent = traceparent_in(raw)
        if traceparent is None:
            dropped = ("traceparent",)
    if raw := by_name.get("correlation_id"):
        correlation_id = correlation_id_in(raw)
        if correlation_id is None:
            dropped += ("correlation_id",)
    return traceparent, correlation_id, dropped


# W3C Trace Context §3.2.2, version 00; ids of zeros are invalid.
_TRACEPARENT = re.compile(rb"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")


def traceparent_in(raw: bytes) -> str | None:
    """Return the traceparent in a header, or None when it is not valid."""
    return raw.decode() if _TRACEPARENT.fullmatch(raw) else None


def correlation_id_in(raw: bytes) -> str | None:
    """Return the correlation id in a header, or None when it cannot be stored."""
    # A character has at most four bytes, and a header may have a million.
    if len(raw) > 4 * bounds.CORRELATION_ID:
        return None
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        return None
    # It is written to logs, too: it must not break a line or change the direction of the text after it.
    return text if 0 < len(text) <= bounds.CORRELATION_ID and text.isprintable() else None


def _explain(error: ValidationError) -> str:
    # The input is left out: it may contain data that must not be in a log.
    return "; ".join(
        f"{'.'.join(str(part) for part in item['loc']) or 'value'}: {item['msg']}"
        for item in error.errors(include_input=False, include_url=False)[:5]
    )
