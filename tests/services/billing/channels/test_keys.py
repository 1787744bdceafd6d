"""Channels and their keys: shown once, checked by hash, revoked at once or nearly so; limits; idempotency keys."""

import asyncio

import httpx
import pytest
from fastapi import Depends, FastAPI
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.http import problems
from chassis.http.bearer import CACHE_SECONDS, TokenRefusedError, prefix_of
from chassis.http.problems import Problem
from events.ids import uuid7
from services.billing import channels
from services.billing.channels import Channel, authenticate, claim_key
from services.billing.channels.keys import list_channels, open_with
from tests.support.command_line import meterhall
from tests.support.databases import Database


async def test_a_key_opens_its_channel_and_only_its_hash_is_kept(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        assert await channels.create_channel(connection, "app", "App", 700)
        assert not await channels.create_channel(connection, "app", "Another name")
        key = await channels.issue_key(connection, "app")
        other = await channels.issue_key(connection, "app")
        assert await open_with(connection, key) == Channel("app")
        assert await channels.payment_limits(connection) == {"app": 700}
        kept = (await connection.execute(text("SELECT prefix, hash FROM api_keys"))).all()
        assert key.split("_", 2)[2] not in str(kept)
        assert {row.prefix for row in kept} == {prefix_of(key), prefix_of(other)}
        (listed,) = await list_channels(connection)
        assert set(listed["prefixes"]) == {prefix_of(key), prefix_of(other)}


async def test_what_does_not_open(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await channels.create_channel(connection, "app", "App")
        key = await channels.issue_key(connection, "app")
        for wrong in ("", "mh_", key[:-1], f"mh_{prefix_of(key)}_x", "mh_00000000_x"):
            with pytest.raises(TokenRefusedError, match="not known"):
                await open_with(connection, wrong)
        assert await channels.revoke_key(connection, prefix_of(key)) == "app"
        assert await channels.revoke_key(connection, key) is None, "it is revoked already"
        with pytest.raises(TokenRefusedError, match="revoked"):
            await open_with(connection, key)
        late = await channels.issue_key(connection, "app")
        await connection.execute(text("UPDATE channels SET active = false"))
        with pytest.raises(TokenRefusedError, match="closed"):
            await open_with(connection, late)
        assert await channels.payment_limits(connection) == {}
        with pytest.raises(channels.UnknownChannelError):
            await channels.issue_key(connection, "nobody")


async def test_a_revoked_key_stops_within_two_seconds(engine: AsyncEngine) -> None:
    app = FastAPI()
    app.state.engine = engine
    problems.install(app)

    @app.get("/me")
    async def _me(channel: Channel = Depends(authenticate)) -> str:  # noqa: B008
        return channel.id

    async with engine.begin() as connection:
        await channels.create_channel(connection, "app", "App")
        key = await channels.issue_key(connection, "app")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://hall"
    ) as client:

        async def status(said: str) -> int:
            return (await client.get("/me", headers={"Authorization": said})).status_code

        assert await status(f"Bearer {key}") == 200
        assert await status(f"bearer {key}") == 200
        assert [await status(said) for said in (key, f"Basic {key}", "Bearer mh_a_b", "")] == [
            401
        ] * 4
        refused = await client.get("/me")
        assert refused.headers["www-authenticate"] == 'Bearer realm="meterhall"'
        assert "Authorization: Bearer mh_" in refused.json()["detail"]
        async with engine.begin() as connection:
            await channels.revoke_key(connection, key)
        loop = asyncio.get_running_loop()
        revoked_at = loop.time()
        while await status(f"Bearer {key}") == 200:
            assert loop.time() - revoked_at < CACHE_SECONDS + 1
            await asyncio.sleep(0.05)


async def test_an_idempotency_key_stands_for_one_request(engine: AsyncEngine) -> None:
    first, second = uuid7(), uuid7()
    async with engine.begin() as connection:
        claim = await claim_key(connection, "app", "k", b"body", first)
        assert (claim.resource_id, claim.replayed) == (first, False)
    async with engine.begin() as connection:
        claim = await claim_key(connection, "app", "k", b"body", second)
        assert (claim.resource_id, claim.replayed) == (first, True)
        with pytest.raises(Problem, match="another address or body"):
            await claim_key(connection, "app", "k", b"other", second)
        claim = await claim_key(connection, "other-app", "k", b"other", second)
        assert not claim.replayed, "a key belongs to its channel"


async def test_concurrent_requests_with_one_key_are_one(engine: AsyncEngine) -> None:
    async def claim() -> channels.Claim:
        async with engine.begin() as connection:
            return await claim_key(connection, "app", "k", b"body", uuid7())

    claims = await asyncio.gather(*(claim() for _ in range(12)))
    assert len({each.resource_id for each in claims}) == 1
    assert sum(not each.replayed for each in claims) == 1


async def test_a_claim_that_is_rolled_back_leaves_the_key_free(engine: AsyncEngine) -> None:
    async with engine.connect() as connection:
        await claim_key(connection, "app", "k", b"body", uuid7())
        await connection.rollback()
    async with engine.begin() as connection:
        assert not (await claim_key(connection, "app", "k", b"other", uuid7())).replayed


async def test_on_the_command_line(database: Database, engine: AsyncEngine) -> None:
    created = await meterhall(database, "channels", "create", "app", "My app", "--limit", "90000")
    assert created.code == 0 and "issue-key app" in created.out
    again = await meterhall(database, "channels", "create", "app", "My app")
    assert again.code == 0 and "nothing was changed" in again.out
    key = (await meterhall(database, "channels", "issue-key", "app")).out.strip()
    async with engine.connect() as connection:
        assert await open_with(connection, key) == Channel("app")
    listed = await meterhall(database, "channels", "list")
    assert prefix_of(key) in listed.out and "900.00" in listed.out
    assert key not in listed.out
    revoked = await meterhall(database, "channels", "revoke-key", prefix_of(key))
    assert revoked.code == 0 and "app" in revoked.out
    mistakes = {
        ("revoke-key", key): "No valid key",
        ("issue-key", "nobody"): "channels create nobody",
        ("create", "My App", "x"): "lower-case",
        ("create", "app2", "x", "--limit", "0"): "above 0",
    }
    ran = await asyncio.gather(*(meterhall(database, "channels", *each) for each in mistakes))
    for wrong, says in zip(ran, mistakes.values(), strict=True):
        assert wrong.code == 1 and says in wrong.err and "Traceback" not in wrong.err
        assert key not in wrong.err
