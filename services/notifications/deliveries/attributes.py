"""The CloudEvents attributes in a record's headers. All are optional, and not validated yet.

An attribute that cannot be stored is left out or replaced by a value of ours, so that no header prevents a delivery.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from events.envelope import correlation_id_in, traceparent_in
from messaging.consumer import Message

_SOURCE_CHARACTERS = 200
# The number of digits of the largest 64-bit integer.
_SEQUENCE = re.compile(r"[0-9]{1,19}")


class Attributes(NamedTuple):
    """The attributes that can be stored, as text."""

    source: str
    time: str
    sequence: str | None
    correlation_id: str | None
    traceparent: str | None


def attributes(message: Message) -> Attributes:
    """Return the attributes of one message. Never raises."""
    found = dict(message.record.headers)
    source = _text(found, "ce_source")
    if not is_storable(source, _SOURCE_CHARACTERS):
        source = type(message.event).topic.source
    sequence = _text(found, "ce_sequence")
    return Attributes(
        source,
        _time(_text(found, "ce_time"), message.record.timestamp),
        sequence if _SEQUENCE.fullmatch(sequence) else None,
        correlation_id_in(_bytes(message.correlation_id)),
        traceparent_in(_bytes(message.traceparent)),
    )


def is_storable(value: str, most_characters: int) -> bool:
    """Return True when a column of this length can store the text: printable, no NUL, lone surrogate or line break."""
    return 0 < len(value) <= most_characters and value.isprintable()


def _bytes(text: str | None) -> bytes:
    return (text or "").encode(errors="replace")


def _text(headers: Mapping[str, bytes | None], name: str) -> str:
    try:
        return (headers.get(name) or b"").decode()
    except UnicodeDecodeError:
        return ""


def _time(written: str, record_timestamp: int) -> str:
    # The header's time, else the record's time stamp, else now. A time without an offset is invalid.
    try:
        at = datetime.fromisoformat(written)
        if at.tzinfo is not None:
            return at.astimezone(UTC).isoformat()
    except (ValueError, OverflowError):
        pass
    try:
        return datetime.fromtimestamp(record_timestamp / 1000, UTC).isoformat()
    except (ValueError, OverflowError, OSError):
        return datetime.now(UTC).isoformat()
