"""Kafka records, as far as this package reads them."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from events.envelope import Header


class Record(Protocol):
    """What is needed of a Kafka record; aiokafka's and kafka-python's both are one."""

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
    """A record that can't be read: where it lies is all that is known of it."""

    topic: str
    partition: int
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[Header] = ()
