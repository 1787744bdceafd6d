"""The channel's API, over TCP to the real process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
from sqlalchemy import text

from services.notifications.access import add_channel, revoke_token
from tests.services.notifications.support import Hall, failed, issued, message_of


@dataclass
class Api:
    """A channel's client."""

    url: str
    channel: str
    token: str

    async def __call__(self, method: str, path: str, **more: Any) -> httpx.Response:
        async with httpx.AsyncClient(base_url=self.url) as client:
            headers = {"Authorization": f"Bearer {self.token}"}
            return await client.request(method, path, headers=headers, **more)


async def api(hall: Hall, url: str) -> Api:
    channel = await hall.channel()
    async with hall.engine.begin() as connection:
        return Api(url, channel, await add_channel(connection, channel))


async def test_a_recipient_is_put_changed_read_and_forgotten(hall: Hall, url: str) -> None:
    call = await api(hall, url)
    assert (await call("GET", "/v1/recipients/p1")).status_code == 404
    put = await call("PUT", "/v1/recipients/p1", json={"email": "a@example.org"})
    assert put.status_code == 200
    assert put.json()["language"] == "zh-CN"
    await call("PUT", "/v1/recipients/p1", json={"email": "b@example.org", "language": "en"})
    got = (await call("GET", "/v1/recipients/p1")).json()
    assert (got["payer"], got["email"], got["language"]) == ("p1", "b@example.org", "en")
    other = await api(hall, url)
    assert (await other("GET", "/v1/recipients/p1")).status_code == 404
    assert (await other("DELETE", "/v1/recipients/p1")).status_code == 204
    assert (await call("GET", "/v1/recipients/p1")).status_code == 200
    for _ in range(2):
        assert (await call("DELETE", "/v1/recipients/p1")).status_code == 204
    assert (await call("GET", "/v1/recipients/p1")).status_code == 404


NO_RECIPIENTS: list[dict[str, str]] = [
    {"email": "a@example.org\r\nBcc: b@example.org"},
    {"email": "A <a@example.org>"},
    {"email": "a@example.org,b@example.org"},
    {"email": "a@b@example.org"},
    {"email": "a..b@example.org"},
    {"email": "a@example..org"},
    {"email": ".a@example.org"},
    {"email": "@example.org"},
    {"email": "a@"},
    {"email": "张@example.org"},
    {"email": "a" * 65 + "@example.org"},
    {"email": "a@example.org", "language": "fr"},
    {"email": "a@example.org", "name": "x"},
    {},
]


async def test_what_is_no_recipient_is_a_problem_that_says_so(hall: Hall, url: str) -> None:
    call = await api(hall, url)
    for body in NO_RECIPIENTS:
        answer = await call("PUT", "/v1/recipients/p1", json=body)
        assert answer.status_code == 422, body
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json()["type"] == "/problems/invalid-request"
        assert "b@example.org" not in answer.text
    async with hall.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM recipients")) == 0


async def test_nobody_gets_in_without_a_token_that_holds(hall: Hall, url: str) -> None:
    call = await api(hall, url)
    for token in ("x", "mhn_deadbeef_x", call.token[:-1], call.token + "x", f"{call.token} x"):
        answer = await Api(url, "", token)("GET", "/v1/endpoint")
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        assert answer.json()["type"] == "/problems/unauthorized"
    async with hall.engine.begin() as connection:
        assert call.token not in str((await connection.execute(text("SELECT * FROM tokens"))).all())
        assert await revoke_token(connection, call.token) == call.channel
    # Never used before, so nothing has to be forgotten first.
    assert (await call("GET", "/v1/endpoint")).status_code == 401


async def test_an_endpoint_shows_its_secret_once(hall: Hall, url: str) -> None:
    call = await api(hall, url)
    assert (await call("GET", "/v1/endpoint")).status_code == 404
    made = (await call("PUT", "/v1/endpoint", json={"url": "https://app.example/hook"})).json()
    assert made["secret"].startswith("whsec_")
    again = (await call("PUT", "/v1/endpoint", json={"url": "https://app.example/new"})).json()
    assert (again["url"], again["secret"], again["previous_until"]) == (
        "https://app.example/new",
        None,
        None,
    )
    body = {"url": "https://app.example/new", "rotate_secret": True}
    rotated = (await call("PUT", "/v1/endpoint", json=body)).json()
    assert rotated["secret"] != made["secret"]
    assert rotated["previous_until"]
    got = await call("GET", "/v1/endpoint")
    assert "whsec_" not in got.text


async def test_an_inner_endpoint_is_refused(hall: Hall, url: str) -> None:
    call = await api(hall, url)
    for inner in ("http://127.0.0.1/", "ftp://app.example/", "http://[::1]/", "x"):
        answer = await call("PUT", "/v1/endpoint", json={"url": inner})
        assert answer.status_code == 422
        assert answer.json()["type"] == "/problems/bad-endpoint"
    assert (await call("GET", "/v1/endpoint")).status_code == 404


async def test_deliveries_are_followed_page_by_page(hall: Hall, url: str) -> None:
    call = await api(hall, url)
    payer, email = await hall.payer(call.channel)
    other, _ = await hall.payer(call.channel)
    hall.mailbox.fail("refuse_5xx", recipient=email)
    await hall.take(message_of(issued(call.channel, payer)))
    await hall.sender.run_once()
    await hall.take(*(message_of(failed(call.channel, payer)) for _ in range(4)))
    await hall.take(message_of(issued(call.channel, other)))
    await hall.sender.run_once()

    seen: list[dict[str, Any]] = []
    cursor = None
    for _ in range(3):
        query = {"payer": payer, "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await call("GET", "/v1/deliveries", params=query)).json()
        seen += page["items"]
        cursor = page["next_cursor"]
    assert cursor is None
    assert [each["status"] for each in seen] == ["delivered"] * 4 + ["failed"]
    assert {each["payer"] for each in seen} == {payer}
    assert [each["id"] for each in seen] == sorted((each["id"] for each in seen), reverse=True)
    wrong = (await call("GET", "/v1/deliveries", params={"status": "failed"})).json()["items"]
    assert [(each["reason"], each["medium"]) for each in wrong] == [("smtp_550", "mail")]
    stranger = await api(hall, url)
    assert (await stranger("GET", "/v1/deliveries", params={"payer": payer})).json()["items"] == []
    for query in ({}, {"status": "delivered"}, {"payer": payer, "cursor": "x"}, {"limit": 0}):
        answer = await call("GET", "/v1/deliveries", params=query)
        assert answer.status_code == 422
        assert answer.headers["Content-Type"] == "application/problem+json"


async def test_a_large_body_is_refused_before_it_is_read(url: str) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b"{}"

    async with httpx.AsyncClient(base_url=url) as client:
        for content in (b"x" * 70_000, pieces()):
            answer = await client.put("/v1/recipients/p1", content=content)
            assert answer.status_code == 413
            assert answer.json()["type"] == "/problems/body-too-large"


async def test_the_probes_answer_without_a_token(url: str) -> None:
    async with httpx.AsyncClient(base_url=url, follow_redirects=True) as client:
        for path in ("/livez", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 200
        missing = await client.get("/v2")
        assert missing.status_code == 404
        assert missing.json()["type"] == "/problems/not-found"
