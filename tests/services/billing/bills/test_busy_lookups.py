"""A person waits for a lookup: one that finds no place is answered soon, and one at a biller that is away at once."""

from sqlalchemy import text

from services.billing.bills.lookup import PATIENCE_SECONDS
from services.billing.institutions import of_biller
from services.billing.instruction import Instruction
from tests.services.billing.bills.conftest import Hall

BILLER = "hz-water"


def break_down(hall: Hall) -> None:
    for _ in range(20):
        hall.lookups.dispatcher.institutions.of(of_biller(BILLER)).report(answered=False)


async def wait(hall: Hall, seconds: float) -> None:
    """Let all errands have waited for so long."""
    async with hall.engine.begin() as connection:
        await connection.execute(
            text("UPDATE errands SET due_at = due_at - :seconds * interval '1 second'"),
            {"seconds": seconds},
        )


async def test_while_its_breaker_is_open_a_lookup_is_answered_at_once(hall: Hall) -> None:
    command = await hall.command(BILLER, hall.fresh(BILLER))
    other = await hall.command("south-gas", hall.fresh("south-gas"))
    break_down(hall)
    hall.billers.add_fault(BILLER, "lookup", "down")
    fired = hall.billers.fired()
    await hall.lookups.look_up([Instruction(command), Instruction(other)])
    row = await hall.row(command.lookup_id)
    assert (row.state, row.reason) == ("failed", "biller_down")
    assert [each[0] for each in await hall.events(command.lookup_id)] == ["LookupFailed.v1"]
    assert hall.billers.fired() == fired, "the biller was not asked"
    await hall.lookups.drain()
    assert (await hall.row(other.lookup_id)).state == "found"
    assert await hall.rows("SELECT subject FROM errands") == []


async def test_one_that_finds_no_place_is_answered_after_a_while(hall: Hall) -> None:
    at = hall.lookups.dispatcher.institutions.of(of_biller(BILLER))
    taken = at.take_places(1_000)
    command = await hall.command(BILLER, hall.fresh(BILLER))
    await hall.lookups.look_up([Instruction(command)])
    assert await hall.lookups.expire_waiting() == 0
    await wait(hall, PATIENCE_SECONDS + 1)
    assert await hall.lookups.expire_waiting() == 1
    assert await hall.lookups.expire_waiting() == 0
    assert await hall.lookups.resume() == 1
    await hall.lookups.drain()
    row = await hall.row(command.lookup_id)
    assert (row.state, row.reason) == ("failed", "biller_down")
    assert [each[0] for each in await hall.events(command.lookup_id)] == ["LookupFailed.v1"]
    at.leave(taken)
    again = await hall.command(BILLER, hall.fresh(BILLER))
    await hall.look_up(again)
    assert (await hall.row(again.lookup_id)).state == "found"


async def test_one_that_is_being_asked_is_not_given_up(hall: Hall) -> None:
    command = await hall.command(BILLER, hall.fresh(BILLER))
    hall.billers.add_fault(BILLER, "lookup", "delay", seconds=0.3)
    await hall.lookups.look_up([Instruction(command)])
    await wait(hall, PATIENCE_SECONDS + 1)
    assert await hall.lookups.expire_waiting() == 0
    await hall.lookups.drain()
    assert (await hall.row(command.lookup_id)).state == "found"
