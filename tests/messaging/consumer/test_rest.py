"""After a small batch a consumer rests, and then takes at once what came meanwhile."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging.consumer import Message, Rejected
from tests.messaging.conftest import Lane
from tests.messaging.consumer.consuming import consuming, good
from tests.messaging.witness import until


class Gate:
    """A handler that holds its first batch until it is opened."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.began_at: list[float] = []
        self.open = asyncio.Event()

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Rejected]:
        self.sizes.append(len(messages))
        self.began_at.append(time.monotonic())
        await self.open.wait()
        return []

    async def batches(self, count: int) -> None:
        async def there() -> bool:
            return len(self.sizes) >= count

        await until(there, f"{count} batches")


async def test_what_comes_while_a_small_batch_is_handled_is_one_batch(
    lane: Lane, kafka: str, engine: AsyncEngine
) -> None:
    gate = Gate()
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka) as producer,
        consuming(lane, kafka, engine, gate),
    ):
        await producer.send_and_wait(lane.topic.name, **good(lane, 0))
        await gate.batches(1)
        for number in range(
            1, 31
        ):  # one after the other, so that a fetch under way would bring the first alone
            await producer.send_and_wait(
                lane.topic.name, **good(lane, number, partition=number % 3)
            )
        gate.open.set()
        await gate.batches(2)
        await producer.send_and_wait(lane.topic.name, **good(lane, 31))
        await gate.batches(3)

    assert gate.sizes == [1, 30, 1]
    assert gate.began_at[2] - gate.began_at[0] > rest.LONGEST_SECONDS


async def test_a_large_batch_is_followed_at_once(
    lane: Lane, kafka: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rest, "LONGEST_SECONDS", 60.0)
    gate = Gate()
    gate.open.set()
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in range(8):
            await producer.send_and_wait(lane.topic.name, **good(lane, number))
    async with consuming(lane, kafka, engine, gate, max_records=4):
        await gate.batches(2)

    assert gate.sizes == [4, 4]
