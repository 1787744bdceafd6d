"""A topic, a group and a kind of event for each test, so that tests see only their own records."""

import itertools
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import pytest

from events.message import EVENT_TYPES, Event
from events.topics import BY_CODE, DEAD_LETTERS, Topic
from messaging.control import provision
from messaging.relay import Relay
from tests.support.databases import Database

_codes = itertools.count(9000)


@dataclass(frozen=True)
class Lane:
    """A topic of the test's own, with its consumer group, its dead letter topic and its kind of event."""

    topic: Topic
    group: str
    dead_letters: Topic
    event: type[Event]

    @property
    def ce_type(self) -> str:
        return self.event.ce_type()


@pytest.fixture
def lane(kafka: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Lane]:
    unique = uuid.uuid4().hex[:8]
    group = f"group-{unique}"
    own_topic = Topic(next(_codes), f"test.{unique}.v1", 3, "name", "meterhall/test")
    dead = Topic(next(_codes), f"{own_topic.name}.{group}.dlq", 1, "name", "meterhall/test")

    class Tested(Event):
        topic: ClassVar[Topic] = own_topic
        key_field: ClassVar[str] = "name"

        name: str
        number: int

    monkeypatch.setitem(DEAD_LETTERS, (own_topic.name, group), dead)
    for topic in (own_topic, dead):
        monkeypatch.setitem(BY_CODE, topic.code, topic)
    provision(kafka, [own_topic, dead])
    yield Lane(own_topic, group, dead, Tested)
    EVENT_TYPES.pop(Tested.ce_type())


@pytest.fixture
async def relays(database: Database, kafka: str) -> AsyncIterator[Callable[[], Relay]]:
    """Return a function that creates relays of this database; close them afterwards."""
    created: list[Relay] = []

    def create() -> Relay:
        created.append(Relay(database.billing_url, "billing", kafka))
        return created[-1]

    yield create
    for relay in created:
        await relay.close()
