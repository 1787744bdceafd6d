"""Kafka records, as far as this package reads them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from events.envelope import Header


class Record(Protocol):
    """The attributes of a Kafka record that are used here; records of aiokafka and kafka-python both have them."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[Header]: ...


class Unread(NamedTuple):
    """The position of a record that cannot be read."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[Header] = ()
