"""Wallet apps that write signed commands to Kafka: a whole backlog, or at a given rate."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self

from events.message import Event
from events.signature import SigningKey
from messaging.outbox import Outgoing
from messaging.relay import Publisher

# A wallet app's producer collects records for this long before it sends them.
LINGER_SECONDS = 0.01
BURST = 20_000


class Wallets:
    """One idempotent producer with acks=all. Records are encoded and signed before the clock starts."""

    def __init__(self, bootstrap: str) -> None:
        self._publisher = Publisher(bootstrap, "benchmark-wallets")

    async def __aenter__(self) -> Self:
        await self._publisher.start()
        return self

    async def __aexit__(
        self, _: type[BaseException] | None, __: BaseException | None, ___: TracebackType | None
    ) -> None:
        await self._publisher.close()

    async def send(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write all records, as fast as Kafka takes them."""
        for start in range(0, len(records), BURST):
            await self._publisher.publish(records[start : start + BURST])

    async def pace(
        self, records: Sequence[Mapping[str, Any]], per_second: float
    ) -> dict[str, float]:
        """Write records at this rate; return the time at which each was due, by its key (seconds since the epoch).

        A sender that falls behind does not move these times: waiting for the sender counts as latency.
        """
        began, sent = time.time(), 0
        while sent < len(records):
            due = min(len(records), int((time.time() - began) * per_second))
            if due > sent:
                await self._publisher.publish(records[sent:due])
                sent = due
            await asyncio.sleep(LINGER_SECONDS)
        return {each["key"]: began + n / per_second for n, each in enumerate(records)}


def encode(commands: Sequence[Event], signing_key: str) -> list[dict[str, Any]]:
    """Return the commands as signed records, ready to be sent."""
    now, key = datetime.now(UTC), SigningKey(signing_key)
    return [{**_row(Outgoing.of(each, 1).signed(key)), "created_at": now} for each in commands]


def _row(outgoing: Outgoing) -> dict[str, Any]:
    row = outgoing._asdict()
    row["topic"] = outgoing.topic.code
    return row
