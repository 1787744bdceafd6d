"""Lookups through a real Kafka: commands in, answers recorded, what can't be kept becomes a dead letter."""

import asyncio

from events.bills import LookUpBills
from events.ids import uuid7
from messaging.consume import make_broker
from messaging.dead_letters import unpack
from services.billing.bills.consumer import register
from services.billing.channels import Guard
from tests.services.billing.bills.conftest import CHANNEL, Hall
from tests.support.commands import TRUST, make_signing_key, send, signed
from tests.support.errands import LookingUpProcess


async def test_commands_through_kafka_are_answered_once(hall: Hall, kafka: str) -> None:
    commands = [await hall.command("hz-water", hall.fresh("hz-water")) for _ in range(12)]
    nobody = LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=uuid7())
    key = await make_signing_key(hall.engine, CHANNEL)
    sent = (*commands[:6], nobody, *commands[6:], commands[0])
    await send(kafka, *(signed(each, key, correlation_id="corr-7") for each in sent))
    broker = make_broker(kafka, "test-lookups")
    lookups = LookingUpProcess(hall.engine, hall.connectors)
    register(broker, hall.engine, lookups, Guard(hall.engine, TRUST))
    await broker.start()
    working = asyncio.create_task(lookups.desk.run())
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
        working.cancel()
        await lookups.drain()
        await lookups.aclose()
    assert set(finished) == {each.lookup_id for each in commands}
    assert {row.correlation_id for row in finished.values()} == {"corr-7"}
    for each in commands:
        ((kind, sequence, _),) = await hall.events(each.lookup_id)
        assert (kind, sequence) == ("BillsFound.v1", 1)
    assert dict(unpack(letters[0].raw)[1])["dlq-reason"] == b"account_unknown"
