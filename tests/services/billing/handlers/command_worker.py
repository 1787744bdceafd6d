"""A worker of commands at a real Kafka: what a test sends it, and what became of that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.ids import uuid7
from events.signature import HEADER, SigningKey
from messaging.consumer.broker import make_broker
from messaging.outbox import unpack_raw
from services.billing.bills.connectors import Connectors
from services.billing.channels import Guard, Trust
from services.billing.channels.guard import CACHE_SECONDS
from services.billing.door.unkept import Promises
from services.billing.handlers import consume_lookups, consume_payments
from tests.services.billing.payments.city import settings
from tests.support.commands import DOOR_KEY, TRUST, CommandRecord, send, signed
from tests.support.errands import LookingUpProcess, PayingProcess, institutions
from tests.support.factories import make_bill, pay_bill

PATIENCE_SECONDS = 30.0


@dataclass
class CommandWorker:
    """A worker at a real Kafka, and what became of the records that it was sent."""

    kafka: str
    engine: AsyncEngine

    async def dead(self) -> dict[bytes, tuple[str, str]]:
        """Reason and text of each dead letter, by ce_id."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(text("SELECT raw FROM outbox WHERE topic > 100"))
            letters = [dict(unpack_raw(raw)[1]) for raw in rows.scalars()]
        return {
            each.get("ce_id", b""): (each["dlq-reason"].decode(), each["dlq-text"].decode())
            for each in letters
        }

    async def refusals(self, *records: CommandRecord) -> list[str]:
        """Send the records, wait until each is a dead letter: the reasons, in their order."""
        await send(self.kafka, *records)
        ids = [dict(each.headers)["ce_id"] for each in records]

        async def all_dead() -> bool:
            return not set(ids) - (await self.dead()).keys()

        await until(all_dead, "every record is a dead letter")
        letters = await self.dead()
        for record, id in zip(records, ids, strict=True):
            result = letters[id][1]
            assert result and len(result) < 300
            assert record.key.decode() not in result, "the text holds nothing of the record"
        return [letters[id][0] for id in ids]

    async def states(self) -> dict[UUID, str]:
        """The state of every payment."""
        async with self.engine.connect() as connection:
            rows = await connection.execute(text("SELECT id, state FROM payments"))
            return {row.id: row.state for row in rows}

    async def pays(self, *records: CommandRecord) -> None:
        """Send the records, wait until each has become a payment that succeeded."""
        await send(self.kafka, *records)
        ids = [UUID(each.key.decode()) for each in records]

        async def all_paid() -> bool:
            states = await self.states()
            return all(states.get(id) == "succeeded" for id in ids)

        await until(all_paid, "every payment has succeeded")

    async def count(self, table: str) -> int:
        async with self.engine.connect() as connection:
            return int(await connection.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


async def until(condition: Callable[[], Awaitable[bool]], what: str) -> None:
    deadline = asyncio.get_running_loop().time() + PATIENCE_SECONDS
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, what
        await asyncio.sleep(0.05)


@asynccontextmanager
async def working(
    kafka: str, payments: PayingProcess, engine: AsyncEngine, folder: Path, trust: Trust = TRUST
) -> AsyncIterator[CommandWorker]:
    """The consumers of both command topics, as the worker process has them."""
    at = institutions()
    connectors = Connectors(engine, settings(folder), at)
    lookups = LookingUpProcess(engine, connectors, at)
    broker = make_broker(kafka, "test-guard")
    guard = Guard(engine, trust)
    promises = Promises(engine, DOOR_KEY)
    consume_payments(broker, engine, payments.handlers(promises), promises, guard)
    consume_lookups(broker, engine, lookups, guard)
    await broker.start()
    try:
        yield CommandWorker(kafka, engine)
    finally:
        await broker.stop()
        await payments.drain()
        await lookups.drain()
        await lookups.aclose()
        await connectors.aclose()


def fresh(record: CommandRecord, ce_id: bytes | None = None) -> CommandRecord:
    """This record under another ce_id."""
    return record.with_header("ce_id", ce_id or str(uuid7()).encode())


def copied(record: CommandRecord, own: SigningKey, **signed_as: str) -> CommandRecord:
    """This record, under a ce_id of its own, with a signature of what `signed_as` says instead of what it is."""
    record = fresh(record)
    given = dict(record.headers)
    fields = {
        "topic": record.topic,
        "key": record.key.decode(),
        "ce_id": given["ce_id"].decode(),
        "ce_type": given["ce_type"].decode(),
    }
    return record.with_header(
        HEADER, own.sign(**{**fields, **signed_as}, value=record.value).encode()
    )


def twice(record: CommandRecord, header: str) -> CommandRecord:
    """This record with the same header twice."""
    value = dict(record.headers)[header]
    return record.with_header(header, value, value)


async def stops(worker: CommandWorker, key: str) -> None:
    """Send with this key until it is refused; fails when that takes longer than it may."""
    loop = asyncio.get_running_loop()
    stopped_at = loop.time()
    while True:
        record = signed(pay_bill(await make_bill(worker.engine)).command, key)
        sent_at = loop.time()
        await send(worker.kafka, record)
        id, payment = dict(record.headers)["ce_id"], UUID(record.key.decode())

        async def judged(id: bytes = id, payment: UUID = payment) -> bool:
            return id in await worker.dead() or payment in await worker.states()

        await until(judged, "the record is judged")
        if id in await worker.dead():
            assert (await worker.dead())[id][0] == "bad_signature"
            return
        assert sent_at - stopped_at < CACHE_SECONDS + 0.5
        await asyncio.sleep(0.1)
