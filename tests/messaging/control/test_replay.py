"""Dead letters for operators: list them, show one, and replay it once the cause is removed."""

import json
from typing import Any

import pytest
import typer
from sqlalchemy.ext.asyncio import AsyncEngine
from typer.testing import CliRunner

from events.topics import DEAD_LETTERS, PAYMENT_EVENTS
from messaging.consumer.dead_letter import dead_letter
from messaging.control import DeadLetter, ReplayRefusedError, read_dead_letters, replay_dead_letters
from messaging.outbox import enqueue
from messaging.relay import Relay
from services.billing.cli import dead_letters as cli
from services.billing.cli.session import settings
from tests.messaging.conftest import Lane
from tests.messaging.witness import produce, read_all
from tests.support.databases import Database

RECORDS: list[dict[str, Any]] = [
    {
        "key": b"k1",
        "value": b"{not json",
        "partition": 2,
        "headers": [("ce_id", b"1"), ("h", b"\xff")],
    },
    {"key": None, "value": b"\xfe\xff", "partition": 1, "headers": []},
    {"key": b"big", "value": b"x" * 900_001, "partition": 0, "headers": []},
]


@pytest.fixture
async def letters(
    lane: Lane, kafka: str, engine: AsyncEngine, database: Database
) -> list[DeadLetter]:
    """Write the records above as dead letters to Kafka and return them, in their order."""
    produce(kafka, lane.topic.name, RECORDS)
    async with engine.begin() as connection:
        for reason, record in zip(("a", "b", "c"), records_in_kafka(kafka, lane), strict=True):
            letter = dead_letter(record, lane.group, reason, f"it is {reason}")
            # A batch that is handled again writes its letters again.
            await enqueue(connection, [letter, letter])
    relay = Relay(database.billing_url, "billing", kafka)
    assert await relay.run_once() == 6
    await relay.close()
    return read_dead_letters(kafka, lane.topic.name)


def records_in_kafka(kafka: str, lane: Lane) -> list[Any]:
    by_value = {record.value: record for record in read_all(kafka, lane.topic.name)}
    return [by_value[record["value"]] for record in RECORDS]


def test_each_letter_is_listed_once_with_its_original_record(
    letters: list[DeadLetter], lane: Lane, kafka: str
) -> None:
    assert [(each.reason, each.text, each.partition) for each in letters] == [
        ("a", "it is a", 2),
        ("b", "it is b", 1),
        ("c", "it is c", 0),
    ]
    assert [(each.key, each.value, each.headers) for each in letters] == [
        (b"k1", b"{not json", [("ce_id", b"1"), ("h", b"\xff")]),
        (None, b"\xfe\xff", []),
        (b"big", None, []),
    ]
    assert [each.omitted for each in letters] == [[], [], ["value"]]
    assert read_dead_letters(kafka, lane.topic.name, reason="b") == [letters[1]]
    assert read_dead_letters(kafka, group=lane.group) == letters
    assert read_dead_letters(kafka, group="another") == []


def test_a_replay_sends_the_record_back_once(
    letters: list[DeadLetter], lane: Lane, kafka: str
) -> None:
    places = replay_dead_letters(kafka, letters[:2])

    back = {(r.partition, r.offset): r for r in read_all(kafka, lane.topic.name)}
    for letter, place in zip(letters, places, strict=False):
        topic, partition, offset = place.split("/")
        record = back[int(partition), int(offset)]
        assert topic == lane.topic.name
        assert (record.partition, record.key, record.value) == (
            letter.partition,
            letter.key,
            letter.value,
        )
        assert list(record.headers) == [*letter.headers, ("dlq-replay-of", letter.id.encode())]

    after = read_dead_letters(kafka, lane.topic.name)
    assert [len(each.replayed_at) for each in after] == [1, 1, 0]
    with pytest.raises(ReplayRefusedError, match="was replayed at"):
        replay_dead_letters(kafka, after[:1])
    assert len(read_all(kafka, lane.topic.name)) == len(RECORDS) + 2
    replay_dead_letters(kafka, after[:1], again=True)
    assert [len(each.replayed_at) for each in read_dead_letters(kafka, lane.topic.name)] == [
        2,
        1,
        0,
    ]


def test_a_letter_without_its_whole_record_is_not_replayed(
    letters: list[DeadLetter], lane: Lane, kafka: str
) -> None:
    with pytest.raises(ReplayRefusedError, match=f"the original is at {lane.topic.name}/0/0"):
        replay_dead_letters(kafka, letters)
    assert len(read_all(kafka, lane.topic.name)) == len(RECORDS), "refused before any is sent"


def test_forged_headers_cannot_change_a_letters_topic(
    letters: list[DeadLetter], lane: Lane, kafka: str
) -> None:
    """A writer of a dead letter topic must not be able to redirect an operator's replay to another topic."""
    forged_headers = [
        ("dlq-id", b"forged"),
        ("dlq-topic", PAYMENT_EVENTS.name.encode()),
        ("dlq-partition", b"0"),
        ("dlq-offset", b"0"),
        ("dlq-group", b"notifications"),
        ("dlq-reason", b"a"),
        ("dlq-text", b""),
        ("dlq-attempts", b"1"),
        ("dlq-first-failed-at", b"now"),
    ]
    name = DEAD_LETTERS[lane.topic.name, lane.group].name
    forged = [
        {"value": b"x", "headers": headers} for headers in ([], forged_headers[:3], forged_headers)
    ]
    produce(kafka, name, forged)
    found = read_dead_letters(kafka, lane.topic.name)
    assert {each.id for each in found} == {*(each.id for each in letters), "forged"}
    forged_letter = next(each for each in found if each.id == "forged")
    assert (forged_letter.topic, forged_letter.group) == (lane.topic.name, lane.group)


class Terminal:
    """`meterhall dead-letters …` as an operator runs it."""

    def __init__(self) -> None:
        self._app = typer.Typer()
        self._app.add_typer(cli.commands)

    def __call__(self, *arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(self._app, ["dead-letters", *arguments])
        assert result.exit_code == code, result.output
        return result.output


@pytest.fixture
def meterhall(kafka: str, monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("METERHALL_DATABASE_URL", "postgresql+asyncpg://unused")
    monkeypatch.setenv("METERHALL_KAFKA", kafka)
    settings.cache_clear()
    return Terminal()


def test_the_command_line_lists_shows_and_replays(
    meterhall: Terminal, letters: list[DeadLetter], lane: Lane
) -> None:
    first, second, big = [letter.id for letter in letters]

    listed = meterhall("list", "--topic", lane.topic.name)
    assert all(id[:8] in listed for id in (first, second, big))
    assert max(len(line) for line in listed.splitlines()) <= 80

    shown = json.loads(meterhall("show", first[:8]))
    assert shown["headers"] == [["ce_id", "1"], ["h", "hex:ff"]]
    assert shown["value_bytes"] == 9
    assert "value" not in shown, "content is printed only with --value"
    assert json.loads(meterhall("show", second, "--value"))["value"] == "hex:feff"

    assert "1 replayed" in meterhall("replay", first[:8])
    assert "was replayed at" in meterhall("replay", first[:8], code=1)
    assert "1 replayed" in meterhall("replay", "--topic", lane.topic.name)
    assert "0 replayed" in meterhall("replay", "--topic", lane.topic.name)
    assert "1 replayed" in meterhall("replay", "--again", first)
    assert "the original is at" in meterhall("replay", big, code=1)

    listed_letters = json.loads(meterhall("list", "--json", "--topic", lane.topic.name))
    assert [len(each["replayed_at"]) for each in listed_letters] == [2, 1, 0]


def test_command_line_errors_say_what_to_do(meterhall: Terminal) -> None:
    assert "Name the ids" in meterhall("replay", code=1)
    assert "No dead letter begins with nope" in meterhall("show", "nope", code=1)


def test_the_command_line_names_the_setting_when_kafka_is_unreachable(
    meterhall: Terminal, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("METERHALL_KAFKA", "127.0.0.1:1")
    settings.cache_clear()

    assert "METERHALL_KAFKA" in meterhall("list", code=1)
