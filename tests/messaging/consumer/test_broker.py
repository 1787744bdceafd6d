"""After a small batch a consumer rests, and then handles all records that arrived meanwhile as one batch."""

import asyncio
import time
from collections.abc import Sequence

import pytest
from aiokafka import AIOKafkaProducer
from sqlalchemy.ext.asyncio import AsyncEngine

from messaging import pacing
from messaging.consumer import Message, Rejected
from tests.messaging.conftest import Lane
from tests.messaging.consumer.consuming import consuming, valid_record
from tests.messaging.witness import wait_until


class GatedHandler:
    """A handler that blocks until `open` is set."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.began_at: list[float] = []
        self.open = asyncio.Event()

    async def __call__(self, messages: Sequence[Message]) -> Sequence[Rejected]:
        self.sizes.append(len(messages))
        self.began_at.append(time.monotonic())
        await self.open.wait()
        return []

    async def wait_for_batches(self, count: int) -> None:
        async def enough() -> bool:
            return len(self.sizes) >= count

        await wait_until(enough, f"{count} batches")


async def test_records_that_arrive_during_a_small_batch_form_one_batch(
    lane: Lane, kafka: str, engine: AsyncEngine
) -> None:
    gate = GatedHandler()
    async with (
        AIOKafkaProducer(bootstrap_servers=kafka) as producer,
        consuming(lane, kafka, engine, gate),
    ):
        await producer.send_and_wait(lane.topic.name, **valid_record(lane, 0))
        await gate.wait_for_batches(1)
        for number in range(
            1, 31
        ):  # one after the other, so that a fetch under way would bring the first alone
            await producer.send_and_wait(
                lane.topic.name, **valid_record(lane, number, partition=number % 3)
            )
        gate.open.set()
        await gate.wait_for_batches(2)
        await producer.send_and_wait(lane.topic.name, **valid_record(lane, 31))
        await gate.wait_for_batches(3)

    assert gate.sizes == [1, 30, 1]
    assert gate.began_at[2] - gate.began_at[0] > pacing.LONGEST_SECONDS


async def test_there_is_no_rest_after_a_large_batch(
    lane: Lane, kafka: str, engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pacing, "LONGEST_SECONDS", 60.0)
    gate = GatedHandler()
    gate.open.set()
    async with AIOKafkaProducer(bootstrap_servers=kafka) as producer:
        for number in range(8):
            await producer.send_and_wait(lane.topic.name, **valid_record(lane, number))
    async with consuming(lane, kafka, engine, gate, max_records=4):
        await gate.wait_for_batches(2)

    assert gate.sizes == [4, 4]
