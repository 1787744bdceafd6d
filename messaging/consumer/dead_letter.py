"""Dead letters: records that a consumer could not use, kept for a person on `<topic>.<group>.dlq`.

Key, value and headers stay as they were; `dlq-…` headers say where the record is and what is wrong with it. Dead
letters go through the outbox, so they are never lost and are written before the offset that passes their record.
"""

import json
from datetime import UTC, datetime
from uuid import NAMESPACE_URL, UUID, uuid5

from events.envelope import LARGEST_VALUE_BYTES, Header
from events.topics import DEAD_LETTERS
from messaging.outbox import LONGEST_KEY, Outgoing, pack_raw
from messaging.record import Record, Unread

# Together with the value's limit it stays below Kafka's 1 MiB for a batch; usual records have a few hundred bytes. A
# header counts with its overhead: `["",""],` here, and lengths in Kafka.
LARGEST_HEADERS_BYTES = 90_000
_EACH_HEADER_BYTES = 12
_NAMESPACE = uuid5(NAMESPACE_URL, "meterhall/dead-letters")


def dead_letter(
    record: Record,
    group: str,
    reason: str,
    text: str,
    *,
    attempts: int = 1,
    first_failed_at: datetime | None = None,
) -> Outgoing:
    """Return the dead letter of `record`. The same record of the same group always gives the same event id.

    `reason` is a short code; `text` must hold nothing of the record's content. Parts that are too large or unreadable
    are left out and named in `dlq-omitted`; the original is still found by topic, partition and offset.
    """
    id = dead_letter_id(record, group)
    key, value, headers, omitted = _storable_parts(record)
    dlq_headers = {
        "dlq-id": str(id),
        **_origin(record),
        "dlq-group": group,
        "dlq-reason": reason,
        "dlq-text": text[:1000],
        "dlq-attempts": str(attempts),
        "dlq-first-failed-at": (first_failed_at or datetime.now(UTC)).isoformat(),
    }
    if omitted:
        dlq_headers["dlq-omitted"] = ",".join(omitted)
    # A record that was a dead letter before and was replayed has `dlq-` headers already: the new ones replace them.
    original_headers = [(name, raw) for name, raw in headers if not name.startswith("dlq-")]
    written = [(name, text.encode()) for name, text in dlq_headers.items()]
    return Outgoing(
        id,
        DEAD_LETTERS[record.topic, group],
        (key or b"").decode(errors="replace").replace("\x00", "\ufffd")[:LONGEST_KEY],
        0,
        "DeadLetter",
        value,
        raw=pack_raw(key, original_headers + written),
    )


def _origin(record: Record) -> dict[str, str]:
    return {
        "dlq-topic": record.topic,
        "dlq-partition": str(record.partition),
        "dlq-offset": str(record.offset),
        "dlq-timestamp": str(record.timestamp),
    }


def _storable_parts(record: Record) -> tuple[bytes | None, bytes | None, list[Header], list[str]]:
    """Return the record's key, value and headers without the parts that are too large, and the names of these parts."""
    if isinstance(record, Unread):
        return None, None, [], ["key", "value", "headers"]
    key, value, headers = record.key, record.value, list(record.headers)
    omitted = []
    if value is not None and len(value) > LARGEST_VALUE_BYTES:
        value = None
        omitted.append("value")
    if sum(map(_size, headers)) > LARGEST_HEADERS_BYTES:
        headers = []
        omitted.append("headers")
    if key is not None and len(key) > 10_000:
        key = None
        omitted.append("key")
    return key, value, headers, omitted


def _size(header: Header) -> int:
    name, raw = header
    # Measured as JSON, in which a name of control characters is six times as long.
    return len(json.dumps(name)) + len(raw or b"") + _EACH_HEADER_BYTES


def dead_letter_id(record: Record, group: str) -> UUID:
    """Return the id of a record's dead letter: the same for a redelivery, so that it does not become another letter."""
    return uuid5(_NAMESPACE, f"{record.topic}/{group}/{record.partition}/{record.offset}")
