"""The books of all parties, read from outside: the PSP's, the billers', the topics (by kafka-python), and ours.

The institutions' records are compared with ours; our tables are never compared with each other.
"""

import json
import urllib.request
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from kafka import KafkaConsumer, TopicPartition

from chassis.database import connect_directly
from events.topics import BY_CODE
from sandbox.local_city import LocalCity


@dataclass(frozen=True, slots=True)
class Row:
    """A payment as our database has it."""

    id: UUID
    state: str
    funding: str
    biller_id: str | None
    amount_minor: int
    refunded_minor: int


async def query(city: LocalCity, statement: str, schema: str = "billing") -> list[Any]:
    """Return rows of one of our databases, read with the application's role."""
    name = "METERHALL_DATABASE_URL" if schema == "billing" else f"METERHALL_{schema}_DATABASE_URL"
    connection = await connect_directly(city.environment[name.upper()], schema)
    try:
        return list(await connection.fetch(statement))
    finally:
        await connection.close()


async def payments(city: LocalCity) -> dict[UUID, Row]:
    """Return every payment in our database, by id."""
    rows = await query(
        city,
        "SELECT id, state, funding, biller_id, amount_minor, refunded_minor FROM payments",
    )
    return {row["id"]: Row(*row) for row in rows}


def fetch(url: str) -> Any:
    """Return the JSON of a GET at a part of the city."""
    with urllib.request.urlopen(url, timeout=60) as response:
        return json.load(response)


def control(city: LocalCity, method: str, part: str, path: str, body: Any = None) -> None:
    """Call a control endpoint of a part of the sandbox."""
    data = None if body is None else json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    url = city.home.url(part) + path
    request = urllib.request.Request(url, data, headers, method=method)
    with urllib.request.urlopen(request, timeout=60):
        pass


async def disagreements(city: LocalCity) -> list[str]:
    """Return the differences of the PSP's and the billers' books from ours; none once every payment has ended."""
    ours = await payments(city)
    top_ups = await query(city, "SELECT id, state, amount_minor FROM top_ups")
    book = fetch(f"{city.home.url('psp')}/sandbox/book")
    return [
        *_payments_at_the_psp(book, ours),
        *_top_ups_at_the_psp(book, {str(row["id"]): row for row in top_ups}),
        *_holds_at_the_psp(book, ours),
        *_at_the_billers(city, ours),
    ]


def _payments_at_the_psp(book: Any, ours: dict[UUID, Row]) -> list[str]:
    captured = _captured(book, "payment")
    refunded: Counter[str] = Counter()
    for each in book["refunds"]:
        if each["status"] == "succeeded":
            refunded[each["charge_id"]] += each["amount_minor"]
    found = []
    for id, row in ours.items():
        paid = row.funding == "psp" and row.state in _PAID
        taken, returned = captured.pop(str(id), []), refunded[str(id)]
        # A capture that succeeds after the payment has failed is refunded, and is never in our books.
        late_capture = not paid and len(taken) == 1 and sum(taken) == returned
        if taken != ([row.amount_minor] if paid else []) and not late_capture:
            found.append(f"{id} is {row.state} and the PSP captured {taken}, refunded {returned}")
        if paid and returned != row.refunded_minor:
            found.append(f"{id}: refunded {row.refunded_minor}, at the PSP {returned}")
    return found + [f"the PSP captured {id}, unknown to us" for id in captured]


def _top_ups_at_the_psp(book: Any, ours: dict[str, Any]) -> list[str]:
    captured = _captured(book, "top_up")
    found = []
    for id, row in ours.items():
        taken = captured.pop(id, [])
        if taken != ([row["amount_minor"]] if row["state"] == "succeeded" else []):
            found.append(f"top-up {id} is {row['state']} and the PSP captured {taken}")
    return found + [f"the PSP captured top-up {id}, unknown to us" for id in captured]


def _holds_at_the_psp(book: Any, ours: dict[UUID, Row]) -> list[str]:
    held = [each["charge_id"] for each in book["holds"] if each["status"] == "held"]
    states = {str(id): row.state for id, row in ours.items()}
    return [f"the PSP still holds the money of {id}, which is {states.get(id)}" for id in held]


def _captured(book: Any, kind: str) -> dict[str, list[int]]:
    captured: dict[str, list[int]] = defaultdict(list)
    for each in book["captures"]:
        if each["metadata"].get("kind") == kind:
            captured[each["charge_id"]].append(each["amount_minor"])
    return captured


def _at_the_billers(city: LocalCity, ours: dict[UUID, Row]) -> list[str]:
    by_call = {row["id"] for row in city.billers() if row["settled_by"] == "call"}
    net: dict[str, list[int]] = defaultdict(list)
    for each in fetch(f"{city.home.url('billers')}/sandbox/book"):
        if each["biller"] in by_call:
            sign = 1 if each["kind"] == "apply" else -1
            net[each["serial"]].append(sign * each["amount_minor"])
    found = []
    for id, row in ours.items():
        if row.biller_id not in by_call:
            continue
        entries = net.pop(id.hex.upper(), [])
        marked = row.state in {"succeeded", "partially_refunded"}
        if sum(entries) != (row.amount_minor if marked else 0) or len(entries) > 2:
            found.append(f"{id} is {row.state} and its biller booked {entries}")
    return found + [f"a biller booked {serial}, unknown to us" for serial in net]


_PAID = {"succeeded", "partially_refunded", "refunded", "reversed"}


async def topic_disagreements(city: LocalCity, schema: str) -> list[str]:
    """Return the differences of the topics from an outbox: row by row, and in the order per key.

    An event may be in a topic twice (a relay that died publishes its last wave again); the first one counts.
    """
    rows = await query(
        city, "SELECT event_id, topic, key, sequence, payload FROM outbox ORDER BY id", schema
    )
    by_topic: dict[str, list[Any]] = defaultdict(list)
    for row in rows:
        by_topic[BY_CODE[row["topic"]].name].append(row)
    found = []
    for topic, expected in by_topic.items():
        read = _read(city.environment["METERHALL_KAFKA"], topic)
        ours = {str(row["event_id"]) for row in expected}
        for row in expected:
            if read.values.get(str(row["event_id"])) != row["payload"]:
                found.append(f"{topic}: {row['event_id']} is missing or differs")
        wanted: dict[str, list[str]] = defaultdict(list)
        for row in expected:
            wanted[row["key"]].append(str(row["event_id"]))
        for key, ids in wanted.items():
            # Commands that wallets sent directly are on the same topic.
            if [id for id in read.order[key] if id in ours] != ids:
                found.append(f"{topic}: the order of {key} differs")
    return found


@dataclass(frozen=True, slots=True)
class _Topic:
    values: dict[str, bytes | None]
    order: dict[str, list[str]]


def events(city: LocalCity, topic: str) -> list[tuple[str, str, float]]:
    """Return every event of a topic, oldest first per key: key, name without version, and time of publication."""
    found = []
    for record in _records(city.environment["METERHALL_KAFKA"], topic):
        name = dict(record.headers)["ce_type"].decode().split(".")[1]
        found.append((record.key.decode(), name, record.timestamp / 1000))
    return found


def _read(bootstrap: str, topic: str) -> _Topic:
    values: dict[str, bytes | None] = {}
    order: dict[str, list[str]] = defaultdict(list)
    for record in _records(bootstrap, topic):
        record_headers = dict(record.headers)
        id = (record_headers.get("dlq-id") or record_headers.get("ce_id") or b"").decode()
        if id and id not in values:
            values[id] = record.value
            order[(record.key or b"").decode(errors="replace")].append(id)
    return _Topic(values, order)


def _records(bootstrap: str, topic: str) -> Iterator[Any]:
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False)
    try:
        parts = [TopicPartition(topic, each) for each in consumer.partitions_for_topic(topic)]
        consumer.assign(parts)
        consumer.seek_to_beginning(*parts)
        ends = consumer.end_offsets(parts)
        while any(consumer.position(part) < ends[part] for part in parts):
            for records in consumer.poll(timeout_ms=500).values():
                yield from records
    finally:
        consumer.close()
