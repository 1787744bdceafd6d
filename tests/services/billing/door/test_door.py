"""Concurrent requests share a transaction, and each is answered as if it were alone."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.http.problems import Problem
from events.ids import uuid7
from sandbox.local.ports import HOST, free_port
from services.billing.channels import Claim, claim_key, key_use
from services.billing.database import connect
from services.billing.door.gathering import Door, DoorRequest, promise_batch
from tests.support.commands import DOOR_KEY
from tests.support.databases import statements
from tests.support.factories import (
    CHANNEL,
    PAYER,
    make_bill,
    make_biller,
    make_channel,
    pay_bill,
    refund_payment,
    top_up_wallet,
)

_KEPT = """
    SELECT (SELECT count(*) FROM payment_requests), (SELECT count(*) FROM idempotency_keys),
        (SELECT count(*) FROM outbox)
"""


@pytest.fixture
async def bill(engine: AsyncEngine) -> UUID:
    await make_biller(engine)
    await make_channel(engine)
    return await make_bill(engine)


@pytest.fixture
async def door(engine: AsyncEngine) -> AsyncIterator[Door]:
    made = Door(engine, DOOR_KEY)
    yield made
    await made.drain()


def asked(bill: UUID, key: str, said: bytes = b"body", **other: Any) -> DoorRequest:
    command = pay_bill(bill, **other).command
    return DoorRequest(key_use(CHANNEL, key, said, command.payment_id), command, f"trace-{key}")


def asked_refund(payment: UUID, key: str, amount_minor: int | None = None) -> DoorRequest:
    command = refund_payment(payment, amount_minor).command
    return DoorRequest(key_use(CHANNEL, key, b"refund", command.refund_id), command, f"trace-{key}")


def asked_top_up(key: str, amount_minor: int = 500) -> DoorRequest:
    command = top_up_wallet(amount_minor).command
    return DoorRequest(key_use(CHANNEL, key, b"top-up", command.top_up_id), command, f"trace-{key}")


async def ask_all(door: Door, batch: Sequence[DoorRequest]) -> list[Any]:
    return await asyncio.gather(*(door.promise(each) for each in batch), return_exceptions=True)


async def kept(engine: AsyncEngine) -> tuple[int, int, int]:
    """Promises, keys and commands."""
    async with engine.connect() as connection:
        row = (await connection.execute(text(_KEPT))).one()
        return row[0], row[1], row[2]


async def test_many_share_the_statements_of_one(
    engine: AsyncEngine, door: Door, bill: UUID
) -> None:
    with statements(engine) as alone:
        await door.promise(asked(bill, "first"))
    with statements(engine) as together:
        answers = await ask_all(door, [asked(bill, f"key-{n}") for n in range(100)])
    assert together == alone
    assert len({each.resource_id for each in answers}) == 100
    assert await kept(engine) == (101, 101, 101)


async def test_each_gets_its_own_answer(engine: AsyncEngine, door: Door, bill: UUID) -> None:
    before = asked(bill, "known")
    await door.promise(before)
    batch = [
        asked(bill, "new"),
        asked(bill, "known"),
        asked(bill, "known-2", amount_minor=1),
        asked(uuid7(), "unknown-bill"),
        asked(bill, "new-2"),
    ]
    new, replayed, amount, unknown, new_2 = await ask_all(door, batch)
    assert new == Claim(batch[0].use.new_id, replayed=False)
    assert replayed == Claim(before.use.new_id, replayed=True)
    assert isinstance(amount, Problem) and amount.body["reason"] == "amount_not_allowed"
    assert isinstance(unknown, Problem) and unknown.body["reason"] == "bill_unknown"
    assert new_2 == Claim(batch[4].use.new_id, replayed=False)
    assert await kept(engine) == (3, 3, 3), "what was refused left nothing, not even its key"
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT k.key, r.id, o.correlation_id FROM idempotency_keys k
                JOIN payment_requests r ON r.id = k.resource_id JOIN outbox o ON o.key = CAST(r.id AS text)
            """)
        )
        assert {tuple(row) for row in rows} == {
            (each.use.key, each.use.new_id, f"trace-{each.use.key}")
            for each in (before, batch[0], batch[4])
        }
    assert not (await door.promise(asked(bill, "unknown-bill"))).replayed, "its key is free"


async def test_many_refunds_and_top_ups_share_the_statements_of_one(
    engine: AsyncEngine, door: Door, bill: UUID
) -> None:
    payment = (await door.promise(asked(bill, "payment"))).resource_id
    refunds = [asked_refund(payment, f"refund-{n}", 1) for n in range(51)]
    top_ups = [asked_top_up(f"top-up-{n}") for n in range(51)]
    for first, *others in (refunds, top_ups):
        with statements(engine) as alone:
            await door.promise(first)
        with statements(engine) as together:
            await ask_all(door, others)
        assert together == alone
    assert await kept(engine) == (103, 103, 103)


async def test_payments_refunds_and_top_ups_share_a_transaction(
    engine: AsyncEngine, door: Door, bill: UUID
) -> None:
    before = (await door.promise(asked(bill, "before"))).resource_id
    batch = [
        asked_refund(before, "refund"),
        asked_top_up("too much", 5_000_001),
        asked(bill, "payment"),
        asked_refund(uuid7(), "of nothing", 1_000_000),
        asked_top_up("top-up"),
        asked_refund(before, "all of it and more", 8_851),
    ]
    with statements(engine) as result:
        answers = await ask_all(door, batch)
    assert sum("INSERT INTO idempotency_keys" in each for each in result) == 1
    refused = {
        position: each.body["type"]
        for position, each in enumerate(answers)
        if isinstance(each, Problem)
    }
    assert refused == {
        1: "/problems/above-limit",
        3: "/problems/not-found",
        5: "/problems/more-than-is-left",
    }
    for position in (0, 2, 4):
        assert answers[position] == Claim(batch[position].use.new_id, replayed=False)
    assert await kept(engine) == (4, 4, 4), "what was refused left nothing, not even its key"
    async with engine.connect() as connection:
        rows = await connection.execute(
            text("""
                SELECT r.kind, r.amount_minor, r.currency, r.payer, r.subject, o.correlation_id FROM payment_requests r
                JOIN outbox o ON o.event_id = r.command_id WHERE r.id = ANY(:ids) ORDER BY r.kind
            """),
            {"ids": [batch[position].use.new_id for position in (0, 2, 4)]},
        )
        assert [tuple(row) for row in rows] == [
            ("payment", 8_850, "CNY", PAYER, bill, "trace-payment"),
            ("refund", 8_850, "CNY", PAYER, before, "trace-refund"),
            ("top_up", 500, "CNY", PAYER, None, "trace-top-up"),
        ]


async def test_a_key_that_is_used_for_two_kinds_at_the_same_time(
    engine: AsyncEngine, door: Door, bill: UUID
) -> None:
    payment, top_up = asked(bill, "key"), asked_top_up("key")
    first, second = await ask_all(door, [payment, top_up])
    assert first == Claim(payment.use.new_id, replayed=False)
    assert isinstance(second, Problem)
    assert second.body["type"] == "/problems/idempotency-key-reused"
    assert await kept(engine) == (1, 1, 1)


async def test_the_same_key_at_the_same_time(engine: AsyncEngine, door: Door, bill: UUID) -> None:
    same = [asked(bill, "key") for _ in range(5)]
    other = asked(bill, "key", b"another body")
    neighbour = asked(bill, "neighbour")
    *answers, reused, alone = await ask_all(door, [*same, other, neighbour])
    assert [each.replayed for each in answers] == [False, True, True, True, True]
    assert {each.resource_id for each in answers} == {same[0].use.new_id}
    assert isinstance(reused, Problem)
    assert (reused.status, reused.body["type"]) == (422, "/problems/idempotency-key-reused")
    assert alone == Claim(neighbour.use.new_id, replayed=False)
    assert await kept(engine) == (2, 2, 2)


async def test_the_second_of_a_key_may_be_right_where_the_first_was_not(
    engine: AsyncEngine, door: Door, bill: UUID
) -> None:
    wrong = asked(bill, "key", b"wrong", amount_minor=1)
    right = asked(bill, "key", b"right")
    first, second = await ask_all(door, [wrong, right])
    assert isinstance(first, Problem)
    assert second == Claim(right.use.new_id, replayed=False)
    assert await kept(engine) == (1, 1, 1)


async def test_doors_that_share_keys_agree_and_never_stand_in_each_others_way(
    engine: AsyncEngine, bill: UUID
) -> None:
    doors = [Door(engine, DOOR_KEY) for _ in range(4)]  # of four processes
    keys = [f"key-{n}" for n in range(60)]
    answers = await asyncio.gather(
        *(
            ask_all(each, [asked(bill, key) for key in (keys, keys[::-1])[number % 2]])
            for number, each in enumerate(doors)
        )
    )
    for key_number in range(60):
        seen = [
            (claims, claims[::-1])[number % 2][key_number] for number, claims in enumerate(answers)
        ]
        assert len({each.resource_id for each in seen}) == 1
        assert sum(not each.replayed for each in seen) == 1
    assert await kept(engine) == (60, 60, 60)


async def test_keys_are_claimed_in_one_order_for_all(engine: AsyncEngine, bill: UUID) -> None:
    async def promise_all(keys: Sequence[str]) -> list[Any]:
        async with engine.begin() as connection:
            return [*await promise_batch(connection, [asked(bill, key) for key in keys], DOOR_KEY)]

    keys = ["a", "b", "c"]
    async with engine.connect() as between:
        await claim_key(between, CHANNEL, "b", b"body", uuid7())
        both = [asyncio.create_task(promise_all(each)) for each in (keys, keys[::-1])]
        waiting = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
        while await between.scalar(waiting) < 2:
            pass
        await between.rollback()  # in another order each would now wait for what the other has
    forward, backward = await asyncio.gather(*both)
    assert [a.resource_id for a in forward] == [b.resource_id for b in reversed(backward)]


async def test_one_that_the_database_refuses_fails_alone(
    engine: AsyncEngine, door: Door, bill: UUID
) -> None:
    batch = [asked(bill, f"key-{n}") for n in range(7)]
    batch[3] = asked(bill, "no text of PostgreSQL has a \x00 in it")
    answers = await ask_all(door, batch)
    assert isinstance(answers.pop(3), DBAPIError)
    assert all(isinstance(each, Claim) and not each.replayed for each in answers)
    assert await kept(engine) == (6, 6, 6)


async def test_a_key_that_somebody_holds_for_long_holds_up_its_own_request_only(
    engine: AsyncEngine, door: Door, bill: UUID
) -> None:
    async with engine.connect() as hanging:
        theirs = await claim_key(hanging, CHANNEL, "held", b"body", uuid7())
        batch = [asked(bill, f"key-{n}") for n in range(4)]
        *answers, held = await ask_all(door, [*batch, asked(bill, "held")])
        assert [each.replayed for each in answers] == [False] * 4
        assert isinstance(held, DBAPIError), "unavailable for now, which tells nothing about it"
        await hanging.commit()
    assert await door.promise(asked(bill, "held")) == Claim(theirs.resource_id, replayed=True)


async def test_a_caller_who_goes_leaves_a_whole_payment_or_none(
    engine: AsyncEngine, door: Door, bill: UUID
) -> None:
    tasks = [asyncio.create_task(door.promise(asked(bill, f"key-{n}"))) for n in range(10)]
    while await kept(engine) == (0, 0, 0):
        tasks[0].cancel()
    await asyncio.gather(*tasks[1:])
    promises, keys, commands = await kept(engine)
    assert promises == keys == commands >= 9


async def test_without_a_database_everybody_hears_so_at_once(bill: UUID) -> None:
    away = connect(f"postgresql+asyncpg://billing_app:x@{HOST}:{free_port()}/none")
    with statements(away) as result:
        answers = await ask_all(Door(away, DOOR_KEY), [asked(bill, f"key-{n}") for n in range(50)])
    assert all(isinstance(each, OSError) for each in answers)
    assert len({id(each) for each in answers}) == 1, "asked once, not once for each of them"
    assert result == []
    await away.dispose()
