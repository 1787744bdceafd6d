"""What the headers of a record add to its event. All of it is optional, and nobody checked it before.

What can't be kept is left out, or replaced by what we know ourselves: a header must never cost an event its delivery.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from events.envelope import correlation_id_in, traceparent_in
from messaging.consumer import Message

_SOURCE_CHARACTERS = 200
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
    return Attributes(
        source,
        _time(_text(found, "ce_time"), message.record.timestamp),
        sequence if _SEQUENCE.fullmatch(sequence) else None,
        correlation_id_in(_bytes(message.correlation_id)),
        traceparent_in(_bytes(message.traceparent)),
    )


def is_storable(value: str, most_characters: int) -> bool:
    """Whether a column of this length holds the text. Printable: no NUL, no half of a surrogate pair, no line break."""
    return 0 < len(value) <= most_characters and value.isprintable()


def _bytes(said: str | None) -> bytes:
    return (said or "").encode(errors="replace")


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
