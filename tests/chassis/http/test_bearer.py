"""Bearer tokens: only the hash is stored, an accepted token is cached briefly, and concurrent requests share a
lookup.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.database import connect
from chassis.http import bearer, problems
from chassis.http.bearer import (
    Callers,
    TokenRefusedError,
    hash_of,
    new_token,
    prefix_of,
    token_matches,
)


class TokenStore:
    """The owners of tokens as an API's database stores them; counts the lookups of each token."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.lookups: Counter[str] = Counter()
        self.open = asyncio.Event()
        self.open.set()
        self.two_tokens_are_looked_up = asyncio.Event()

    async def find(self, connection: AsyncConnection, token: str) -> str:
        self.lookups[token] += 1
        if len(self.lookups) == 2:
            self.two_tokens_are_looked_up.set()
        await self.open.wait()
        await connection.execute(text("SELECT 1"))
        if token not in self.owners:
            raise TokenRefusedError("This token is not known.")
        return self.owners[token]


@pytest.fixture
async def store() -> TokenStore:
    return TokenStore()


@pytest.fixture
def app(store: TokenStore, engine: AsyncEngine) -> FastAPI:
    created = FastAPI()
    created.state.engine = engine
    problems.install(created)
    callers = Callers(store.find, realm="hall", missing="Send a token.")

    @created.get("/me")
    async def _me(request: Request) -> str:
        return await callers.of(request)

    return created


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://hall"
    ) as created:
        yield created


async def me(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/me", headers={"Authorization": f"Bearer {token}"})


def test_a_token_is_named_by_its_prefix_and_matched_by_its_hash_alone() -> None:
    token, other = new_token("mh"), new_token("mh")
    kind, prefix, secret = token.split("_", 2)
    assert (kind, len(prefix), len(secret)) == ("mh", 8, 43)
    assert prefix_of(token) == prefix_of(prefix) == prefix
    assert prefix_of(f"mh_{prefix}_a_b") == prefix, "a secret may have the sign that separates"
    assert token_matches(token, hash_of(token))
    for stored_hash in (hash_of(other), bytes(32), None):
        assert not token_matches(token, stored_hash)
    assert not token_matches(token[:-1], hash_of(token))


async def test_an_accepted_token_is_cached_briefly(
    client: httpx.AsyncClient, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.owners["t"] = "app"
    for scheme in ("Bearer", "bearer", "BEARER"):
        response = await client.get("/me", headers={"Authorization": f"{scheme} t"})
        assert (response.status_code, response.json()) == (200, "app")
    assert store.lookups == {"t": 1}
    # The cache entry has expired.
    monkeypatch.setattr(bearer, "CACHE_SECONDS", -1.0)
    store.owners["u"] = "other"
    assert [(await me(client, "u")).json() for _ in range(2)] == ["other", "other"]
    assert store.lookups["u"] == 2
    del store.owners["u"]
    assert (await me(client, "u")).status_code == 401


@pytest.mark.parametrize(
    ("sent", "detail"),
    [
        ("", "Send a token."),
        ("Bearer", "Send a token."),
        ("Bearer ", "Send a token."),
        ("Basic t", "Send a token."),
        ("t", "Send a token."),
        ("Bearer unknown", "This token is not known."),
    ],
)
async def test_a_refusal_says_why(
    client: httpx.AsyncClient, store: TokenStore, sent: str, detail: str
) -> None:
    store.owners["t"] = "app"
    refused = await client.get("/me", headers={"Authorization": sent})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="hall"'
    assert refused.json() == {
        "type": "/problems/unauthorized",
        "title": "The key is missing or not valid",
        "status": 401,
        "detail": detail,
    }


async def test_concurrent_requests_share_a_lookup_that_survives_a_disconnect(
    client: httpx.AsyncClient, store: TokenStore
) -> None:
    store.owners["t"] = "app"
    store.open.clear()
    requests = [asyncio.create_task(me(client, token)) for token in ["t"] * 20 + ["unknown"] * 20]
    await store.two_tokens_are_looked_up.wait()
    requests[0].cancel()
    store.open.set()
    _, *responses = await asyncio.gather(*requests, return_exceptions=True)
    codes = [each.status_code for each in responses if isinstance(each, httpx.Response)]
    assert codes == [200] * 19 + [401] * 20
    assert store.lookups == {"t": 1, "unknown": 1}
    # A refusal is not cached: the token may have been issued since.
    store.owners["unknown"] = "late"
    assert (await me(client, "unknown")).json() == "late"


async def test_the_cache_is_bounded(
    client: httpx.AsyncClient, store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearer, "MOST_CACHED", 3)
    store.owners.update({token: token for token in "abcd"})
    for token in "abcab":
        assert (await me(client, token)).status_code == 200
    assert set(store.lookups.values()) == {1}
    assert (await me(client, "d")).status_code == 200
    assert (await me(client, "a")).status_code == 200
    assert store.lookups["a"] == 2, "the cache was emptied instead of growing"


async def test_an_unreachable_database_does_not_revoke_a_token(
    client: httpx.AsyncClient, app: FastAPI, store: TokenStore, engine: AsyncEngine
) -> None:
    store.owners["t"] = "app"
    app.state.engine = connect("postgresql+asyncpg://nobody:x@127.0.0.1:1/none", "billing")
    assert (await me(client, "t")).status_code == 503
    app.state.engine = engine
    assert (await me(client, "t")).status_code == 200
