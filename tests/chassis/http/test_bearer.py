"""Bearer tokens: only the hash is kept, an accepted one is believed for a moment, and many who ask at once ask once."""

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


class Register:
    """Who has which token, as an API's database has it, and how often it was asked for each."""

    def __init__(self) -> None:
        self.owners: dict[str, str] = {}
        self.asked: Counter[str] = Counter()
        self.open = asyncio.Event()
        self.open.set()
        self.two_are_asked = asyncio.Event()

    async def find(self, connection: AsyncConnection, token: str) -> str:
        self.asked[token] += 1
        if len(self.asked) == 2:
            self.two_are_asked.set()
        await self.open.wait()
        await connection.execute(text("SELECT 1"))
        if token not in self.owners:
            raise TokenRefusedError("This token is not known.")
        return self.owners[token]


@pytest.fixture
async def register() -> Register:
    return Register()


@pytest.fixture
def app(register: Register, engine: AsyncEngine) -> FastAPI:
    made = FastAPI()
    made.state.engine = engine
    problems.install(made)
    callers = Callers(register.find, realm="hall", missing="Send a token.")

    @made.get("/me")
    async def _me(request: Request) -> str:
        return await callers.of(request)

    return made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://hall"
    ) as made:
        yield made


async def me(client: httpx.AsyncClient, token: str) -> httpx.Response:
    return await client.get("/me", headers={"Authorization": f"Bearer {token}"})


def test_a_token_is_known_by_its_prefix_and_opens_by_its_hash_alone() -> None:
    token, other = new_token("mh"), new_token("mh")
    kind, prefix, secret = token.split("_", 2)
    assert (kind, len(prefix), len(secret)) == ("mh", 8, 43)
    assert prefix_of(token) == prefix_of(prefix) == prefix
    assert prefix_of(f"mh_{prefix}_a_b") == prefix, "a secret may have the sign that separates"
    assert token_matches(token, hash_of(token))
    for kept in (hash_of(other), bytes(32), None):
        assert not token_matches(token, kept)
    assert not token_matches(token[:-1], hash_of(token))


async def test_a_token_is_believed_for_a_moment(
    client: httpx.AsyncClient, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    register.owners["t"] = "app"
    for scheme in ("Bearer", "bearer", "BEARER"):
        answer = await client.get("/me", headers={"Authorization": f"{scheme} t"})
        assert (answer.status_code, answer.json()) == (200, "app")
    assert register.asked == {"t": 1}
    # Belief that has ended.
    monkeypatch.setattr(bearer, "CACHE_SECONDS", -1.0)
    register.owners["u"] = "other"
    assert [(await me(client, "u")).json() for _ in range(2)] == ["other", "other"]
    assert register.asked["u"] == 2
    del register.owners["u"]
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
async def test_who_is_refused_is_told_why(
    client: httpx.AsyncClient, register: Register, sent: str, detail: str
) -> None:
    register.owners["t"] = "app"
    refused = await client.get("/me", headers={"Authorization": sent})
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == 'Bearer realm="hall"'
    assert refused.json() == {
        "type": "/problems/unauthorized",
        "title": "The key is missing or not valid",
        "status": 401,
        "detail": detail,
    }


async def test_many_requests_at_once_ask_once_and_one_that_leaves_takes_nobody_along(
    client: httpx.AsyncClient, register: Register
) -> None:
    register.owners["t"] = "app"
    register.open.clear()
    requests = [asyncio.create_task(me(client, token)) for token in ["t"] * 20 + ["unknown"] * 20]
    await register.two_are_asked.wait()
    requests[0].cancel()
    register.open.set()
    _, *answers = await asyncio.gather(*requests, return_exceptions=True)
    codes = [each.status_code for each in answers if isinstance(each, httpx.Response)]
    assert codes == [200] * 19 + [401] * 20
    assert register.asked == {"t": 1, "unknown": 1}
    # A refusal is not believed: the token may have been issued since.
    register.owners["unknown"] = "late"
    assert (await me(client, "unknown")).json() == "late"


async def test_what_is_believed_has_a_bound(
    client: httpx.AsyncClient, register: Register, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bearer, "MOST_CACHED", 3)
    register.owners.update({token: token for token in "abcd"})
    for token in "abcab":
        assert (await me(client, token)).status_code == 200
    assert set(register.asked.values()) == {1}
    assert (await me(client, "d")).status_code == 200
    assert (await me(client, "a")).status_code == 200
    assert register.asked["a"] == 2, "all were forgotten, rather than kept without end"


async def test_a_database_that_is_away_refuses_nobody_for_good(
    client: httpx.AsyncClient, app: FastAPI, register: Register, engine: AsyncEngine
) -> None:
    register.owners["t"] = "app"
    app.state.engine = connect("postgresql+asyncpg://nobody:x@127.0.0.1:1/none", "billing")
    assert (await me(client, "t")).status_code == 503
    app.state.engine = engine
    assert (await me(client, "t")).status_code == 200
