"""Signing keys: derived and never stored, several at once, revoked; and what a process trusts, by its settings."""

import asyncio
import json
import os
import sys

import pytest
from pydantic import SecretStr
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.http.bearer import prefix_of
from events.signature import SigningKey
from events.topics import LOOKUP_COMMANDS, PAYMENT_COMMANDS
from services.billing import channels
from services.billing.channels import Trust, TrustError, door_key, read_trust
from services.billing.channels.keys import list_channels
from services.billing.channels.signing_keys import derive, valid_signing_keys
from services.billing.settings import Settings
from tests.support.command_line import meterhall
from tests.support.commands import SECRET, make_signing_key
from tests.support.databases import Database
from tests.support.factories import CHANNEL, make_channel

BOTH = f"{PAYMENT_COMMANDS.name}, {LOOKUP_COMMANDS.name}"
LONG = "x" * 32


async def test_a_key_is_derived_from_the_secret_and_nothing_that_signs_is_kept(
    engine: AsyncEngine,
) -> None:
    await make_channel(engine)
    first, second = [await make_signing_key(engine, CHANNEL) for _ in range(2)]
    assert first != second and SigningKey(first).id == prefix_of(first)
    assert first == derive(SECRET, CHANNEL, prefix_of(first))
    others = {
        derive(SECRET + b"x", CHANNEL, prefix_of(first)),
        derive(SECRET, f"{CHANNEL}x", prefix_of(first)),
        derive(SECRET, CHANNEL, prefix_of(second)),
        second,
    }
    assert len({each.split("_", 2)[2] for each in (first, *others)}) == 4
    assert len(first.split("_", 2)[2]) == 43, "256 bits"
    async with engine.begin() as connection:
        kept = str((await connection.execute(text("SELECT * FROM signing_keys"))).all())
        assert first.split("_", 2)[2] not in kept and second.split("_", 2)[2] not in kept
        (listed,) = await list_channels(connection)
        assert listed["signing_prefixes"] == [prefix_of(first), prefix_of(second)]
        assert len(listed["prefixes"]) == 1, "its API key"


async def test_keys_are_revoked_by_themselves_or_by_their_prefix(engine: AsyncEngine) -> None:
    await make_channel(engine)
    first, second = [await make_signing_key(engine, CHANNEL) for _ in range(2)]
    async with engine.begin() as connection:
        assert await valid_signing_keys(connection) == dict.fromkeys(
            map(prefix_of, (first, second)), CHANNEL
        )
        assert await channels.revoke_signing_key(connection, first) == CHANNEL
        assert await channels.revoke_signing_key(connection, first) is None, "it is revoked already"
        assert await valid_signing_keys(connection) == {prefix_of(second): CHANNEL}
        assert await channels.revoke_signing_key(connection, prefix_of(second)) == CHANNEL
        assert await valid_signing_keys(connection) == {}
        await channels.issue_signing_key(connection, SECRET, CHANNEL)
        await connection.execute(text("UPDATE channels SET active = false"))
        assert await valid_signing_keys(connection) == {}
        with pytest.raises(channels.UnknownChannelError):
            await channels.issue_signing_key(connection, SECRET, "nobody")


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE signing_keys SET channel_id = 'x'",
        "UPDATE signing_keys SET id = '00000000'",
        "DELETE FROM signing_keys",
        "TRUNCATE signing_keys",
        "INSERT INTO signing_keys (id, channel_id, created_at) VALUES ('00000000', 'x', now())",
    ],
)
async def test_the_application_may_not(engine: AsyncEngine, statement: str) -> None:
    async with engine.connect() as connection:
        with pytest.raises(DBAPIError, match="permission denied"):
            await connection.execute(text(statement))


def settings(secret: str | None, trusted: str = "") -> Settings:
    return Settings(
        database_url=SecretStr(""),
        command_secret=None if secret is None else SecretStr(secret),
        trusted_command_topics=trusted,
    )


def test_what_is_trusted_is_what_the_settings_say() -> None:
    assert read_trust(settings(LONG)) == Trust(LONG.encode())
    assert read_trust(settings(LONG, f" {PAYMENT_COMMANDS.name} ,")) == Trust(
        LONG.encode(), frozenset({PAYMENT_COMMANDS.name})
    )
    trusting = read_trust(settings(None, BOTH))
    assert trusting == Trust(None, frozenset({PAYMENT_COMMANDS.name, LOOKUP_COMMANDS.name}))
    assert door_key(trusting) is None
    assert door_key(read_trust(settings(LONG, BOTH))) is not None, "the door signs if it can"


@pytest.mark.parametrize(
    ("secret", "trusted", "says"),
    [
        (None, "", "METERHALL_COMMAND_SECRET"),
        ("", "", "METERHALL_COMMAND_SECRET"),
        ("x" * 31, "", "32 random characters"),
        (None, PAYMENT_COMMANDS.name, "METERHALL_COMMAND_SECRET"),
        (LONG, "billing.payment.events.v1", "billing.payment.events.v1"),
        (LONG, f"{BOTH},*", "names \\*: the command topics are"),
    ],
)
def test_settings_that_leave_nobody_to_check_are_refused(
    secret: str | None, trusted: str, says: str
) -> None:
    with pytest.raises(TrustError, match=says) as refused:
        read_trust(settings(secret, trusted))
    assert "\n" not in str(refused.value)
    assert secret is None or len(secret) < 31 or secret not in str(refused.value)


@pytest.mark.parametrize("process", ["worker", "web"])
async def test_a_process_that_can_not_check_does_not_start(process: str) -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("METERHALL_")}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", f"services.billing.{process}"),
        env={**kept, "METERHALL_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:9/x"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await started.communicate()
    assert started.returncode == 1
    assert out == b""
    (line,) = err.decode().splitlines()
    assert line.startswith("Set METERHALL_COMMAND_SECRET")


async def test_a_worker_warns_of_each_topic_that_it_trusts() -> None:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("METERHALL_")}
    started = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "services.billing.worker"),
        env={
            **kept,
            "METERHALL_DATABASE_URL": "postgresql+asyncpg://nobody@127.0.0.1:9/x",
            "METERHALL_KAFKA": "127.0.0.1:9",
            "METERHALL_TRUSTED_COMMAND_TOPICS": BOTH,
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    # Kafka is not there, so it ends by itself.
    out, err = await asyncio.wait_for(started.communicate(), 60)
    lines = [
        line for line in (out + err).decode().splitlines() if "command_topic_is_trusted" in line
    ]
    warned = [json.loads(line) for line in lines]
    assert sorted(each["topic"] for each in warned) == sorted(BOTH.split(", "))
    assert {each["level"] for each in warned} == {"warning"}


async def test_on_the_command_line(database: Database, engine: AsyncEngine) -> None:
    await make_channel(engine, "app")
    secret = SECRET.decode()

    async def run(*arguments: str, command_secret: str = secret) -> tuple[int, str]:
        ran = await meterhall(
            database, "channels", *arguments, command_secret=command_secret, no_color="1"
        )
        assert "Traceback" not in ran.err
        return ran.code, ran.out + ran.err

    code, result = await run("issue-signing-key", "app")
    key = result.strip()
    assert code == 0 and key == derive(SECRET, "app", prefix_of(key))
    code, result = await run("list")
    assert code == 0 and prefix_of(key) in result and key not in result
    code, result = await run("revoke-signing-key", key)
    assert code == 0 and "app" in result and key not in result
    wrong = {
        ("revoke-signing-key", key): "No valid signing key",
        ("issue-signing-key", "nobody"): "channels create nobody",
    }
    for arguments, says in wrong.items():
        code, result = await run(*arguments)
        assert code == 1 and says in result and key not in result
    code, result = await run("issue-signing-key", "app", command_secret="short")
    assert code == 1 and "METERHALL_COMMAND_SECRET" in result
