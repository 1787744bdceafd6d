"""Lookups against the sandbox's billers over TCP: the four ways in which one ends, and whatever may happen before."""

import asyncio
import json
from datetime import UTC, datetime

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from errands.operate import pause
from events.bills import LookUpBills
from events.ids import uuid7
from services.billing.bills import request
from services.billing.bills.connectors import Application
from services.billing.institutions import of_biller
from services.billing.instruction import Instruction
from tests.services.billing.bills.conftest import CHANNEL, SPEAKERS, Hall
from tests.support.errands import LookingUpProcess


@pytest.mark.parametrize("biller", SPEAKERS)
async def test_bills_are_found_kept_and_told(hall: Hall, biller: str) -> None:
    number = hall.fresh(biller)
    hall.billers.issue_bill(biller, number, 7_654, period="2026-03")
    command = await hall.command(biller, number)
    assert await hall.look_up(command) == {}
    lookup = await hall.row(command.lookup_id)
    assert (lookup.state, lookup.reason, lookup.version) == ("found", None, 1)
    bills = {row.id: row for row in await hall.bills(command.account_id)}
    assert set(lookup.bill_ids) == set(bills)
    mine = next(row for row in bills.values() if row.period == "2026-03")
    assert (mine.amount_minor, mine.currency, mine.closed_at) == (7_654, "CNY", None)
    assert mine.expires_at > datetime.now(UTC)
    ((kind, sequence, result),) = await hall.events(command.lookup_id)
    assert (kind, sequence) == ("BillsFound.v1", 1)
    assert result["biller_id"] == biller and result["channel"] == CHANNEL
    expected = {bill["bill_id"]: bill for bill in result["bills"]}
    assert set(expected) == {str(id) for id in bills}
    assert expected[str(mine.id)]["amount_minor"] == 7_654
    assert number not in str(result), "an account number must not leave the database"


async def test_nothing_owed_and_no_such_account_are_different_results(hall: Hall) -> None:
    nothing = await hall.command("hz-water", hall.fresh("hz-water", owing=False))
    nobody = await hall.command("hz-water", "0000000000")
    await hall.look_up(nothing, nobody)
    assert (await hall.row(nothing.lookup_id)).state == "nothing_owed"
    assert (await hall.row(nobody.lookup_id)).state == "no_such_account"
    assert [each[0] for each in await hall.events(nothing.lookup_id)] == ["NothingOwed.v1"]
    assert [each[0] for each in await hall.events(nobody.lookup_id)] == ["AccountNotFound.v1"]


@pytest.mark.parametrize("kind", ["down", "timeout_before", "reset_before", "garbage", "truncate"])
async def test_a_biller_that_is_down_says_nothing_about_the_account(hall: Hall, kind: str) -> None:
    number = hall.fresh("cd-water")
    known = await hall.command("cd-water", number)
    await hall.look_up(known)
    before = await hall.bills(known.account_id)
    assert before
    hall.billers.add_fault("cd-water", "lookup", kind, times=2)
    command = await hall.command("cd-water", number)
    await hall.look_up(command)
    lookup = await hall.row(command.lookup_id)
    assert (lookup.state, lookup.reason, lookup.bill_ids) == ("failed", "biller_down", None)
    ((event, _, result),) = await hall.events(command.lookup_id)
    assert (event, result["reason"]) == ("LookupFailed.v1", "biller_down")
    assert await hall.bills(known.account_id) == before
    again = await hall.command("cd-water", number)
    await hall.look_up(again)
    assert (await hall.row(again.lookup_id)).state == "found"


async def test_invalid_bills_are_not_stored(hall: Hall) -> None:
    """A biller that bills in another currency than its own is not believed, and neither are its other bills."""
    bill = {"period": "2026-11", "amount_minor": 5, "currency": "CNY", "rule": "exact"}
    bill["expires_at"] = "2099-12-31T23:59:59+08:00"
    bills = [{**bill, "bill_number": "B1"}, {**bill, "bill_number": "B2", "currency": "USD"}]
    fields = {"status": "OK", "account_number": "1234567890", "bills": bills}
    content = json.dumps(fields).encode()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(content)}\r\nConnection: close\r\n\r\n"
        writer.write(head.encode() + content)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        connector = {"dialect": "json", "url": f"http://127.0.0.1:{port}"}
        async with hall.engine.begin() as connection:
            await connection.execute(
                text("UPDATE billers SET connector = CAST(:it AS jsonb) WHERE id = 'hz-water'"),
                {"it": json.dumps(connector)},
            )
        command = await hall.command("hz-water", "1234567890")
        await hall.look_up(command)
        assert (await hall.row(command.lookup_id)).state == "failed"
        assert await hall.bills(command.account_id) == []
        bills[1]["currency"] = "CNY"
        content = json.dumps(fields).encode()
        again = await hall.command("hz-water", "1234567890")
        await hall.look_up(again)
        assert (await hall.row(again.lookup_id)).state == "found"
        assert [each.bill_number for each in await hall.bills(again.account_id)] == ["B1", "B2"]


async def test_a_slow_biller_holds_up_no_other_biller(hall: Hall) -> None:
    hall.billers.add_fault("sh-gas", "lookup", "timeout_before", times=20)
    slow = [await hall.command("sh-gas", hall.fresh("sh-gas")) for _ in range(10)]
    quick = [await hall.command("hz-water", hall.fresh("hz-water")) for _ in range(10)]
    await hall.lookups.look_up([Instruction(each) for each in (*slow, *quick)])
    deadline = asyncio.get_running_loop().time() + 10
    while True:
        await hall.lookups.resume()
        rows = await hall.rows("SELECT state, count(*) AS n FROM lookups GROUP BY state")
        states = {row.state: row.n for row in rows}
        if states.get("found") == 10:
            break
        assert asyncio.get_running_loop().time() < deadline, states
        await asyncio.sleep(0.02)
    assert states.get("pending") == 10, "the quick biller's answers waited for the slow one's"
    await hall.lookups.drain()
    assert {(await hall.row(each.lookup_id)).state for each in slow} == {"failed"}


async def test_a_bill_keeps_its_id_and_closes_when_it_is_listed_no_more(hall: Hall) -> None:
    number = hall.fresh("hz-water", owing=False)
    hall.billers.issue_bill("hz-water", number, 5_000)
    first = await hall.command("hz-water", number)
    await hall.look_up(first)
    (kept,) = await hall.bills(first.account_id)
    second = await hall.command("hz-water", number)
    await hall.look_up(second)
    (again,) = await hall.bills(first.account_id)
    assert again.id == kept.id and again.looked_up_at > kept.looked_up_at
    # Paid at a counter, say: the biller lists it no more.
    connector = await hall.connectors.of("hz-water")
    await connector.apply(Application("S" + kept.id.hex, number, kept.bill_number, 5_000, "CNY"))
    third = await hall.command("hz-water", number)
    await hall.look_up(third)
    assert (await hall.row(third.lookup_id)).state == "nothing_owed"
    (closed,) = await hall.bills(first.account_id)
    assert closed.id == kept.id and closed.closed_at is not None


async def test_a_command_that_comes_again_changes_nothing(hall: Hall) -> None:
    command = await hall.command("hz-water", hall.fresh("hz-water"))
    await hall.look_up(command, command)
    first = await hall.row(command.lookup_id)
    assert await hall.look_up(command) == {}
    assert await hall.row(command.lookup_id) == first
    assert len(await hall.events(command.lookup_id)) == 1


async def test_what_can_not_be_kept_is_refused_and_its_neighbours_go_on(hall: Hall) -> None:
    good = await hall.command("hz-water", hall.fresh("hz-water"))
    other = await hall.account("hz-water", hall.fresh("hz-water"))
    nobody = LookUpBills(lookup_id=uuid7(), channel=CHANNEL, account_id=uuid7())
    stranger = LookUpBills(lookup_id=uuid7(), channel="stranger", account_id=other)
    refused = await hall.look_up(good, nobody, stranger)
    assert refused == {nobody.lookup_id: "account_unknown", stranger.lookup_id: "channel_unknown"}
    assert (await hall.row(good.lookup_id)).state == "found"
    reused = good.model_copy(update={"account_id": other})
    assert await hall.look_up(reused) == {good.lookup_id: "id_reused"}
    assert (await hall.row(good.lookup_id)).account_id == good.account_id


async def test_an_inactive_biller_is_not_called(hall: Hall) -> None:
    command = await hall.command("wh-water", hall.fresh("wh-water"))
    async with hall.engine.begin() as connection:
        await connection.execute(text("UPDATE billers SET active = false WHERE id = 'wh-water'"))
    hall.billers.add_fault("wh-water", "lookup", "down", times=1)
    fired = hall.billers.fired()
    await hall.look_up(command)
    lookup = await hall.row(command.lookup_id)
    assert (lookup.state, lookup.reason) == ("failed", "biller_inactive")
    assert hall.billers.fired() == fired


async def test_lookups_at_a_paused_biller_end_at_once_without_a_call(hall: Hall) -> None:
    async with hall.engine.begin() as connection:
        await pause(connection, of_biller("hz-water"))
    assert await hall.lookups.resume() == 0, "a look at the table finds the pause"
    command, other = [
        await hall.command(each, hall.fresh(each)) for each in ("hz-water", "south-gas")
    ]
    await hall.look_up(command, other)
    lookup = await hall.row(command.lookup_id)
    assert (lookup.state, lookup.reason) == ("failed", "biller_down")
    assert (await hall.row(other.lookup_id)).state == "found"
    assert (await hall.rows("SELECT count(*) AS errands FROM errands"))[0].errands == 0


async def test_what_a_dead_process_left_is_taken_up_once(hall: Hall) -> None:
    """Continues from tx1: the lookups are kept, the process that kept them is gone before any biller has answered."""
    commands = [await hall.command("hz-water", hall.fresh("hz-water")) for _ in range(5)]
    dead = LookingUpProcess(hall.engine, hall.connectors)
    hall.billers.add_fault("hz-water", "lookup", "timeout_before", times=5, seconds=0.6)
    await dead.look_up([Instruction(each) for each in commands])
    await dead.aclose()
    assert {(await hall.row(each.lookup_id)).state for each in commands} == {"pending"}
    hall.billers.clear_faults()
    assert await hall.lookups.resume() == 0, "too early: another process may be at it"
    async with hall.engine.begin() as connection:
        await connection.execute(text("UPDATE errands SET due_at = now()"))
    timers = [LookingUpProcess(hall.engine, hall.connectors) for _ in range(3)]
    assert sum(await asyncio.gather(*(each.resume() for each in timers))) == 5
    for each in timers:
        await each.drain()
        await each.aclose()
    for command in commands:
        assert (await hall.row(command.lookup_id)).state == "found"
        assert len(await hall.events(command.lookup_id)) == 1
    assert await hall.lookups.resume() == 0


async def test_a_batch_of_hundreds(hall: Hall) -> None:
    numbers = hall.billers.accounts("south-gas", limit=300, owing=None)
    commands = [await hall.command("south-gas", number) for number in numbers]
    assert await hall.look_up(*commands) == {}
    states = await hall.rows("SELECT DISTINCT state FROM lookups ORDER BY state")
    assert [row.state for row in states] == ["found", "nothing_owed"]
    events = await hall.rows(
        "SELECT count(*) AS events, count(DISTINCT key) AS lookups FROM outbox WHERE topic = 2"
    )
    assert (events[0].events, events[0].lookups) == (len(commands), len(commands))


async def test_an_answer_that_can_not_be_recorded_ends_the_lookup(
    hall: Hall, owner_engine: AsyncEngine
) -> None:
    """Its neighbours are recorded; the wallet is told, and may ask again."""
    async with owner_engine.begin() as connection:
        await connection.execute(
            text("ALTER TABLE bills ADD CONSTRAINT ck_of_this_test CHECK (amount_minor <> 7653)")
        )
    number, other = hall.fresh("hz-water"), hall.fresh("hz-water")
    hall.billers.issue_bill("hz-water", number, 7_653)
    poison = await hall.command("hz-water", number)
    neighbour = await hall.command("hz-water", other)
    await hall.look_up(poison, neighbour)
    lookup = await hall.row(poison.lookup_id)
    assert (lookup.state, lookup.reason) == ("failed", "answer_not_recordable")
    assert [each[0] for each in await hall.events(poison.lookup_id)] == ["LookupFailed.v1"]
    assert (await hall.row(neighbour.lookup_id)).state == "found"


async def test_a_call_that_breaks_ends_the_lookup(hall: Hall) -> None:
    """The catalogue's connector is none of ours: asking raises before anything is sent."""
    async with hall.engine.begin() as connection:
        await connection.execute(
            text("UPDATE billers SET connector = '{\"dialect\": \"telex\"}' WHERE id = 'hz-water'")
        )
    command = await hall.command("hz-water", hall.fresh("hz-water"))
    await hall.look_up(command)
    lookup = await hall.row(command.lookup_id)
    assert (lookup.state, lookup.reason) == ("failed", "lookup_broke")


async def test_a_lookup_of_the_http_door_whose_command_never_arrives_is_asked_for(
    hall: Hall, owner_engine: AsyncEngine
) -> None:
    """Its command is lost: the row is there, and the timer takes it."""
    command = await hall.command("hz-water", hall.fresh("hz-water"))
    async with hall.engine.begin() as connection:
        await request.request_lookup(connection, command, None, "corr-9")
    assert await hall.lookups.expire_waiting() == 0, "too early: its command is on its way"
    async with owner_engine.begin() as connection:
        await connection.execute(
            text("UPDATE lookups SET created_at = now() - interval '21 seconds'")
        )
    assert await hall.lookups.expire_waiting() == 1
    await hall.lookups.drain()
    lookup = await hall.row(command.lookup_id)
    assert (lookup.state, lookup.correlation_id) == ("found", "corr-9")
