"""Lookups through a real Kafka: commands in, answers recorded, what can't be kept becomes a dead letter."""

import asyncio

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from events.bills import LookUpBills
from events.ids import uuid7
from messaging.consumer.broker import make_broker
from messaging.outbox import unpack_raw
from messaging.relay import Relay
from services.billing.bills import follow, request
from services.billing.channels import Guard
from services.billing.handlers import consume_lookups
from tests.services.billing.bills.conftest import CHANNEL, Hall
from tests.support.commands import DOOR_KEY, TRUST, make_signing_key, send, signed
from tests.support.databases import Database
from tests.support.errands import LookingUpProcess


async def test_commands_through_kafka_are_answered_once(hall: Hall, kafka: str) -> None:
    commands = [await hall.command("hz-water", hall.fresh("hz-water")) for _ in range(12)]
    nobody = LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=uuid7())
    key = await make_signing_key(hall.engine, CHANNEL)
    sent = (*commands[:6], nobody, *commands[6:], commands[0])
    await send(kafka, *(signed(each, key, correlation_id="corr-7") for each in sent))
    broker = make_broker(kafka, "test-lookups")
    lookups = LookingUpProcess(hall.engine, hall.connectors)
    consume_lookups(broker, hall.engine, lookups, Guard(hall.engine, TRUST))
    await broker.start()
    working = asyncio.create_task(lookups.dispatcher.run())
    try:
        deadline = asyncio.get_running_loop().time() + 30
        while True:
            await lookups.resume()
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
    assert dict(unpack_raw(letters[0].raw)[1])["dlq-reason"] == b"account_unknown"


async def test_a_lookup_of_the_http_door_whose_command_is_a_dead_letter_has_failed(
    hall: Hall, kafka: str, database: Database, owner_engine: AsyncEngine
) -> None:
    """A dead letter that another producer writes under the lookup's id does not end the lookup."""
    good, bad = [await hall.command("hz-water", hall.fresh("hz-water")) for _ in range(2)]
    async with hall.engine.begin() as connection:
        for each in (good, bad):
            await request.request_lookup(connection, each, DOOR_KEY)
    async with owner_engine.begin() as connection:
        await connection.execute(
            text("UPDATE outbox SET signature = 'k=door,v1=' || repeat('0', 64) WHERE key = :key"),
            {"key": str(bad.lookup_id)},
        )
    relay = Relay(database.billing_url, "billing", kafka)
    broker = make_broker(kafka, "test-lookups")
    lookups = LookingUpProcess(hall.engine, hall.connectors)
    consume_lookups(broker, hall.engine, lookups, Guard(hall.engine, TRUST))
    await send(kafka, signed(good, None))
    await broker.start()
    try:
        deadline = asyncio.get_running_loop().time() + 30
        while not await hall.rows("SELECT id FROM outbox WHERE topic > 100"):
            assert asyncio.get_running_loop().time() < deadline, "the stranger's is a dead letter"
            await asyncio.sleep(0.05)
        assert (await hall.row(good.lookup_id)).state == "pending"
        await relay.run_once()
        while "pending" in {(await hall.row(each.lookup_id)).state for each in (good, bad)}:
            assert asyncio.get_running_loop().time() < deadline, "both have ended"
            await asyncio.sleep(0.05)
    finally:
        await broker.stop()
        await relay.close()
        await lookups.drain()
        await lookups.aclose()
    assert (await hall.row(good.lookup_id)).state == "found"
    async with hall.engine.connect() as connection:
        seen = await follow.lookup(connection, CHANNEL, bad.lookup_id)
    assert seen is not None
    assert (seen.status, seen.reason) == ("biller_down", "bad_signature")
    assert [each[0] for each in await hall.events(bad.lookup_id)][-1] == "LookupFailed.v1"
