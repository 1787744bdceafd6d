"""The guard's cost: no query while the keys are fresh; and the database's trouble is waited out, not buried."""

from typing import Any, cast

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from events.envelope import decode
from events.ids import uuid7
from messaging.consumer import Message
from messaging.transient import is_transient
from sandbox.local.ports import HOST, free_port
from services.billing.channels import Guard, guard
from services.billing.channels.signing_keys import DOOR, NO_CHANNEL, derive
from services.billing.database import connect
from tests.support.commands import SECRET, TRUST, make_signing_key, signed
from tests.support.databases import statements
from tests.support.factories import CHANNEL, make_channel, pay_bill

UNKNOWN = "mhs_00000000_c2VjcmV0"


def command(key: str | None, channel: str = CHANNEL) -> Message:
    """A signed command as the consumer hands it on."""
    record = signed(pay_bill(uuid7(), channel=channel).command, key)
    found = decode(record.topic, record.key, record.value, record.headers)
    return Message(cast(Any, record), found.id, found.type, found.event, None, None, found.headers)


async def test_the_keys_are_read_once_for_two_seconds_of_batches(
    engine: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await make_channel(engine)
    key = await make_signing_key(engine, CHANNEL)
    made = Guard(engine, TRUST)
    with statements(engine) as text:
        for _ in range(5):
            messages = [command(key) for _ in range(20)]
            assert await made.judge(messages) == (messages, [])
        assert len(text) == 1
        monkeypatch.setattr(guard, "CACHE_SECONDS", -1.0)
        await made.judge([command(key)])
        assert len(text) == 2, "what was read is too old"


async def test_a_key_that_was_issued_just_now_opens_and_strangers_cost_a_query_a_batch(
    engine: AsyncEngine,
) -> None:
    await make_channel(engine)
    made = Guard(engine, TRUST)
    await made.judge([command(None)])
    key = await make_signing_key(engine, CHANNEL)
    with statements(engine) as text:
        unknown, good = [command(UNKNOWN) for _ in range(10)], command(key)
        signed, refused = await made.judge([*unknown, good])
        assert signed == [good]
        assert [each.message for each in refused] == unknown
        assert {each.reason for each in refused} == {"bad_signature"}
        assert len(text) == 1


async def test_the_door_signs_for_every_channel_and_a_channel_for_itself(
    engine: AsyncEngine,
) -> None:
    await make_channel(engine)
    await make_channel(engine, "other-app")
    door = derive(SECRET, NO_CHANNEL, DOOR)
    key = await make_signing_key(engine, "other-app")
    made = Guard(engine, TRUST)
    promised = [command(door), command(door, "other-app")]
    stolen, own = command(key), command(key, "other-app")
    signed, refused = await made.judge([*promised, stolen, own])
    assert signed == [*promised, own]
    assert [(each.message, each.reason) for each in refused] == [(stolen, "wrong_channel")]


async def test_when_the_database_is_away_the_batch_is_tried_again() -> None:
    away = connect(f"postgresql+asyncpg://nobody@{HOST}:{free_port()}/nothing")
    made = Guard(away, TRUST)
    with pytest.raises(Exception) as raised:
        await made.judge([command(derive(SECRET, NO_CHANNEL, DOOR))])
    assert is_transient(raised.value)
    await away.dispose()
