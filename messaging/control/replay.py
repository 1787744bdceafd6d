"""Read dead letters, and replay one: send its record back to the topic it came from.

This uses kafka-python, independently of the client that wrote them. A replay is noted by a record of its own on the
dead letter topic (`dlq-replayed`), so the note is kept as long as the letter and needs no table.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition

from events.envelope import Header
from events.topics import DEAD_LETTERS
from messaging.record import Record

SEND_SECONDS = 30.0
# Short, because a person waits for the command.
_CLIENT = {"client_id": "meterhall-dead-letters", "bootstrap_timeout_ms": 5000}


class ReplayRefusedError(Exception):
    """The letter cannot or should not be sent back; the text says why."""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A dead letter: the record's position, the reason, and the record as it was."""

    id: str
    topic: str
    group: str
    partition: int
    offset: int
    reason: str
    text: str
    attempts: int
    first_failed_at: str
    written_at: datetime
    # Those of "key", "value" and "headers" that were too large to be stored or could not be read.
    omitted: Sequence[str]
    key: bytes | None
    value: bytes | None
    headers: Sequence[Header]
    replayed_at: Sequence[str]


def read_dead_letters(
    bootstrap: str,
    topic: str | None = None,
    group: str | None = None,
    reason: str | None = None,
) -> list[DeadLetter]:
    """Return the dead letters that Kafka still has (30 days), oldest first."""
    places = {
        letters.name: (read_topic, read_by)
        for (read_topic, read_by), letters in DEAD_LETTERS.items()
        if topic in {None, read_topic} and group in {None, read_by}
    }
    letters_by_id: dict[str, DeadLetter] = {}
    replays: dict[str, list[str]] = defaultdict(list)
    for record in _all_records(bootstrap, list(places)):
        headers = {name: raw.decode(errors="replace") for name, raw in record.headers}
        if "dlq-replayed" in headers:
            replays[headers["dlq-replayed"]].append(headers.get("dlq-replayed-at", "unknown"))
            continue
        letter = _parse_letter(places[record.topic], record, headers)
        if letter is not None and reason in {None, letter.reason}:
            # A batch that was handled again has written its letters again: one id is one letter.
            letters_by_id.setdefault(letter.id, letter)
    letters = [replace(each, replayed_at=replays[id]) for id, each in letters_by_id.items()]
    return sorted(letters, key=lambda letter: letter.written_at)


def replay_dead_letters(
    bootstrap: str, letters: Sequence[DeadLetter], *, again: bool = False
) -> list[str]:
    """Send each letter's record back to its partition, once; return `topic/partition/offset` of each.

    The record comes after all records that were written for its key since. Raises ReplayRefusedError, before anything
    is sent, for a letter that was replayed already (unless `again`) or that was not stored whole.
    """
    for letter in letters:
        _check_replayable(letter, again)
    producer = KafkaProducer(**_CLIENT, bootstrap_servers=bootstrap, acks="all")
    try:
        sent = [
            producer.send(
                letter.topic,
                key=letter.key,
                value=letter.value,
                partition=letter.partition,
                headers=[*letter.headers, ("dlq-replay-of", letter.id.encode())],
            )
            for letter in letters
        ]
        places = [each.get(SEND_SECONDS) for each in sent]
        now = datetime.now(UTC).isoformat(timespec="seconds").encode()
        marked = [
            producer.send(
                DEAD_LETTERS[letter.topic, letter.group].name,
                key=letter.id.encode(),
                value=None,
                headers=[("dlq-replayed", letter.id.encode()), ("dlq-replayed-at", now)],
            )
            for letter in letters
        ]
        for each in marked:
            each.get(SEND_SECONDS)
    finally:
        producer.close()
    return [f"{place.topic}/{place.partition}/{place.offset}" for place in places]


def _check_replayable(letter: DeadLetter, again: bool) -> None:
    if letter.replayed_at and not again:
        raise ReplayRefusedError(
            f"{letter.id} was replayed at {letter.replayed_at[-1]}; use --again to replay it once more"
        )
    if letter.omitted:
        raise ReplayRefusedError(
            f"{letter.id} was not stored whole ({', '.join(letter.omitted)} missing) and cannot be replayed:"
            f" the original is at {letter.topic}/{letter.partition}/{letter.offset}"
        )
    if letter.key is None and letter.value is None:
        raise ReplayRefusedError(f"{letter.id} has neither key nor value: there is nothing to send")


def _parse_letter(
    place: tuple[str, str], record: Record, dlq_headers: dict[str, str]
) -> DeadLetter | None:
    """Return the letter in a record of a dead letter topic; None for a record that no consumer of ours wrote.

    `place` is the topic and the group of the dead letter topic. The letter's own headers do not decide about it,
    because a replay must not go where the letter's writer wants.
    """
    topic, group = place
    try:
        return DeadLetter(
            id=dlq_headers["dlq-id"],
            topic=topic,
            group=group,
            partition=int(dlq_headers["dlq-partition"]),
            offset=int(dlq_headers["dlq-offset"]),
            reason=dlq_headers["dlq-reason"],
            text=dlq_headers["dlq-text"],
            attempts=int(dlq_headers["dlq-attempts"]),
            first_failed_at=dlq_headers["dlq-first-failed-at"],
            written_at=datetime.fromtimestamp(record.timestamp / 1000, UTC),
            omitted=[part for part in dlq_headers.get("dlq-omitted", "").split(",") if part],
            key=record.key,
            value=record.value,
            headers=[(name, raw) for name, raw in record.headers if not name.startswith("dlq-")],
            replayed_at=(),
        )
    except (KeyError, ValueError):
        return None


def _all_records(bootstrap: str, topics: Sequence[str]) -> Iterator[Any]:
    """Yield all records that the topics have at this moment."""
    consumer = KafkaConsumer(
        **_CLIENT,
        bootstrap_servers=bootstrap,
        enable_auto_commit=False,
        isolation_level="read_committed",
    )
    try:
        partitions = [
            TopicPartition(topic, number)
            for topic in topics
            for number in consumer.partitions_for_topic(topic) or ()
        ]
        if not partitions:
            return
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        left = consumer.end_offsets(partitions)
        while left := {at: end for at, end in left.items() if consumer.position(at) < end}:
            for records in consumer.poll(timeout_ms=500).values():
                yield from records
    finally:
        consumer.close()
