"""The public catalogue over HTTP: filters, pages, caches, and never a connector."""

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.http import problems
from services.billing.catalog import import_catalogue
from services.billing.catalog.routes import router
from tests.services.billing.catalog.rows import biller, coverage, good, service


@pytest.fixture
async def client(engine: AsyncEngine) -> AsyncIterator[httpx.AsyncClient]:
    app = FastAPI()
    app.state.engine = engine
    problems.install(app)
    app.include_router(router)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://hall"
    ) as made:
        yield made


@pytest.fixture(autouse=True)
async def catalogue(engine: AsyncEngine) -> None:
    rows = good(
        biller(),
        service(),
        coverage(),
        biller("power"),
        service("power-zj", "power", category="electricity"),
        coverage("power-zj", "330000"),
        biller("off", active=False),
        service("off-bill", "off"),
        coverage("off-bill"),
    )
    async with engine.begin() as connection:
        await import_catalogue(connection, rows)


async def ids(client: httpx.AsyncClient, **asked: str) -> list[str]:
    answer = await client.get("/v1/billers", params=asked)
    assert answer.status_code == 200, answer.text
    return [each["id"] for each in answer.json()["items"]]


async def test_divisions(client: httpx.AsyncClient) -> None:
    provinces = (await client.get("/v1/divisions")).json()
    assert len(provinces) == 31
    zhejiang = next(each for each in provinces if each["code"] == "330000")
    assert (zhejiang["name_zh"], zhejiang["name_en"], zhejiang["billers"]) == (
        "浙江省",
        "Zhejiang",
        2,
    )
    cities = (await client.get("/v1/divisions", params={"parent": "330000"})).json()
    assert len(cities) == 11
    # The whole province has power, Hangzhou has water, too.
    assert {each["name_en"]: each["billers"] for each in cities}["Hangzhou"] == 2
    assert {each["name_en"]: each["billers"] for each in cities}["Ningbo"] == 1
    unknown = await client.get("/v1/divisions", params={"parent": "990000"})
    assert (unknown.status_code, unknown.json()["type"]) == (422, "/problems/division-unknown")


async def test_billers_by_place_and_category(client: httpx.AsyncClient) -> None:
    assert await ids(client) == ["hz-water", "power"], "what is off is not offered"
    assert await ids(client, division="330100") == ["hz-water", "power"]
    assert await ids(client, division="330200") == ["power"]
    assert await ids(client, division="330000") == ["hz-water", "power"]
    assert await ids(client, division="330100", category="water") == ["hz-water"]
    assert await ids(client, division="440100") == []
    assert await ids(client, category="gas") == []
    assert (await client.get("/v1/billers", params={"category": "tea"})).status_code == 422
    assert (await client.get("/v1/billers", params={"division": "1"})).status_code == 422


async def test_pages(client: httpx.AsyncClient) -> None:
    first = (await client.get("/v1/billers", params={"limit": "1"})).json()
    assert [each["id"] for each in first["items"]] == ["hz-water"]
    cursor = first["next_cursor"]
    second = (await client.get("/v1/billers", params={"limit": "1", "cursor": cursor})).json()
    assert [each["id"] for each in second["items"]] == ["power"]
    assert second["next_cursor"] is None
    bad = await client.get("/v1/billers", params={"cursor": "%%%"})
    assert (bad.status_code, bad.json()["type"]) == (422, "/problems/bad-cursor")


async def test_one_biller_without_its_connector(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/billers/power")
    body = answer.json()
    assert body["services"] == [
        {
            "id": "power-zj",
            "category": "electricity",
            "name_zh": "水费",
            "name_en": "Water bill",
            "coverage": {"provinces": 1, "prefectures": 11},
        }
    ]
    assert (body["account_number_pattern"], body["account_number_hint_zh"]) == (
        "^[0-9]{10}$",
        "10 位数字",
    )
    for address in ("/v1/billers/power", "/v1/billers"):
        assert "127.0.0.1" not in (await client.get(address)).text
    assert (await client.get("/v1/billers/off")).json()["active"] is False
    gone = await client.get("/v1/billers/nobody")
    assert (gone.status_code, gone.json()["type"]) == (404, "/problems/biller-unknown")


async def test_answers_may_be_cached(client: httpx.AsyncClient) -> None:
    answer = await client.get("/v1/billers")
    assert answer.headers["cache-control"] == "public, max-age=300"
    tag = answer.headers["etag"]
    again = await client.get("/v1/billers", headers={"If-None-Match": tag})
    assert (again.status_code, again.content) == (304, b"")
    other = await client.get("/v1/billers/power", headers={"If-None-Match": tag})
    assert other.status_code == 200
    assert (await client.post("/v1/billers")).status_code == 405
