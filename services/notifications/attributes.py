"""What the headers of a record add to its event. All of it is optional, and nobody checked it before.

What can't be kept is left out, or replaced by what we know ourselves: a header must never cost an event its delivery.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from messaging.consumption import Message
from services.notifications.tables import CORRELATION_CHARACTERS, TRACEPARENT_CHARACTERS

_SOURCE_CHARACTERS = 200
# W3C trace context §3.2.2, version 00: ids of zeros are no ids.
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
# As many digits as the largest number of 64 bits has.
_SEQUENCE = re.compile(r"[0-9]{1,19}")


class Attributes(NamedTuple):
    """The attributes that can be kept, as text."""

    source: str
    time: str
    sequence: str | None
    correlation_id: str | None
    traceparent: str | None


def attributes(message: Message) -> Attributes:
    """The attributes of one message. Raises nothing."""
    found = dict(message.record.headers)
    source = _text(found, "ce_source")
    if not is_storable(source, _SOURCE_CHARACTERS):
        source = type(message.event).topic.source
    sequence = _text(found, "ce_sequence")
    correlation_id, traceparent = message.correlation_id or "", message.traceparent or ""
    traced = is_storable(traceparent, TRACEPARENT_CHARACTERS) and _TRACEPARENT.fullmatch(
        traceparent
    )
    return Attributes(
        source,
        _time(_text(found, "ce_time"), message.record.timestamp),
        sequence if _SEQUENCE.fullmatch(sequence) else None,
        correlation_id if is_storable(correlation_id, CORRELATION_CHARACTERS) else None,
        traceparent if traced else None,
    )


def is_storable(value: str, most_characters: int) -> bool:
    """Whether a column of this length holds the text. Printable: no NUL, no half of a surrogate pair, no line break."""
    return 0 < len(value) <= most_characters and value.isprintable()


def _text(headers: Mapping[str, bytes | None], name: str) -> str:
    try:
        return (headers.get(name) or b"").decode()
    except UnicodeDecodeError:
        return ""


def _time(written: str, record_timestamp: int) -> str:
    # The header, else when the record was written, else now. A time without an offset is no moment.
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
