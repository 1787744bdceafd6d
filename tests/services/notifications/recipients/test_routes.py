"""A channel sets where its payers and itself are told, over TCP to the real process."""

from sqlalchemy import text

from tests.services.notifications.client import api
from tests.services.notifications.support import Hall


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
