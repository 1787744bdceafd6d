"""Lookups through a real Kafka: commands in, answers recorded, what can't be kept becomes a dead letter."""

import asyncio
from datetime import UTC, datetime

from aiokafka import AIOKafkaProducer

from events.bills import LookUpBills
from events.envelope import headers
from events.ids import uuid7
from events.topics import LOOKUP_COMMANDS
from messaging.consume import make_broker
from messaging.dead_letters import unpack
from services.billing.bills.consumer import register
from services.billing.bills.lookup import Lookups
from tests.services.billing.bills.conftest import CHANNEL, Hall


async def send(bootstrap: str, *commands: LookUpBills) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for each in commands:
            said = headers(
                uuid7(), each.ce_type(), "wallet", each.key, datetime.now(UTC), 1, None, "corr-7"
            )
            value = each.model_dump_json().encode()
            await producer.send_and_wait(
                LOOKUP_COMMANDS.name, value, key=each.key.encode(), headers=said
            )
    finally:
        await producer.stop()


async def test_commands_through_kafka_are_answered_once(hall: Hall, kafka: str) -> None:
    commands = [await hall.command("hz-water", hall.fresh("hz-water")) for _ in range(12)]
    nobody = LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=uuid7())
    await send(kafka, *commands[:6], nobody, *commands[6:], commands[0])
    broker = make_broker(kafka, "test-lookups")
    lookups = Lookups(hall.engine, hall.connectors)
    register(broker, hall.engine, lookups)
    await broker.start()
    try:
        deadline = asyncio.get_running_loop().time() + 30
        while True:
            rows = await hall.rows("SELECT id, state, correlation_id FROM lookups")
            letters = await hall.rows(
                "SELECT raw FROM outbox WHERE topic > 100 AND key = :key", key=str(nobody.lookup_id)
            )
            finished = {row.id: row for row in rows if row.state == "found"}
            if len(finished) == len(commands) and letters:
                break
            assert asyncio.get_running_loop().time() < deadline, (rows, letters)
            await asyncio.sleep(0.05)
    finally:
        await broker.stop()
        await lookups.drain()
        await lookups.aclose()
    assert set(finished) == {each.lookup_id for each in commands}
    assert {row.correlation_id for row in finished.values()} == {"corr-7"}
    for each in commands:
        ((kind, sequence, _),) = await hall.events(each.lookup_id)
        assert (kind, sequence) == ("BillsFound.v1", 1)
    assert dict(unpack(letters[0].raw)[1])["dlq-reason"] == b"account_unknown"
