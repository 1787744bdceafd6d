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
    """A topic of its own, who reads it, and its events."""

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
    made = Topic(next(_codes), f"test.{unique}.v1", 3, "name", "meterhall/test")
    dead = Topic(next(_codes), f"{made.name}.{group}.dlq", 1, "name", "meterhall/test")

    class Tested(Event):
        topic: ClassVar[Topic] = made
        key_field: ClassVar[str] = "name"

        name: str
        number: int

    monkeypatch.setitem(DEAD_LETTERS, (made.name, group), dead)
    for topic in (made, dead):
        monkeypatch.setitem(BY_CODE, topic.code, topic)
    provision(kafka, [made, dead])
    yield Lane(made, group, dead, Tested)
    EVENT_TYPES.pop(Tested.ce_type())


@pytest.fixture
async def relays(database: Database, kafka: str) -> AsyncIterator[Callable[[], Relay]]:
    """Makes relays of this database, and closes them."""
    made: list[Relay] = []

    def make() -> Relay:
        made.append(Relay(database.billing_url, "billing", kafka))
        return made[-1]

    yield make
    for relay in made:
        await relay.close()
