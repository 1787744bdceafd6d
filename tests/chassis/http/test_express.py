"""An express route responds exactly as the same route does through FastAPI, and is documented in the same way."""

from collections.abc import AsyncIterator
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Header, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from prometheus_client import generate_latest
from pydantic import BaseModel, Field

from chassis.database import connect
from chassis.http import express, web
from chassis.http.problems import UNAUTHORIZED, Problem, ProblemType

KEY_REQUIRED = ProblemType("key-required", 400, "A key is required", "There is none.", "Send one.")


class Order(BaseModel):
    """The body of a request."""

    name: Annotated[str, Field(pattern=r"^[a-z]+$")]
    number: Annotated[int, Field(gt=0, strict=True)]


class Taken(BaseModel):
    """The body of a response."""

    summary: str


async def caller(
    request: Request,
    shown: Annotated[
        HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))
    ] = None,
) -> str:
    del shown
    who = request.headers.get("authorization")
    if not who:
        raise Problem(UNAUTHORIZED, "Send a key.")
    return who


async def key_of(key: Annotated[str | None, Header(alias="Idempotency-Key")] = None) -> str:
    if not key:
        raise Problem(KEY_REQUIRED)
    return key


async def take(
    body: Order,
    http: Request,
    who: Annotated[str, Depends(caller)],
    key: Annotated[str, Depends(key_of)],
) -> Response:
    """Take an order."""
    if body.name == "defect":
        raise RuntimeError("a defect of ours")
    if body.name == "away":
        raise ConnectionRefusedError
    summary = f"{who} {key} {body.name} {body.number} {len(await http.body())}"
    return Response(
        Taken(summary=summary).model_dump_json(), 202, {"X-Own": "1"}, "application/json"
    )


@pytest.fixture
def app() -> FastAPI:
    router = APIRouter(prefix="/v1")
    router.post("/plain", status_code=202, response_model=Taken)(take)
    express.post(router, "/quick", status_code=202, response_model=Taken)(take)
    engine = connect("postgresql+asyncpg://nobody@127.0.0.1/nothing", "nothing")
    return web.create("Hall", "", engine, None, [router])


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://hall") as made:
        yield made


_RIGHT = b'{"name": "a", "number": 1, "more": 2}'
_HEADERS = {"Authorization": "me", "Idempotency-Key": "k", "Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        (_RIGHT, {}, 202),
        (_RIGHT, {"Content-Type": "application/hall+json; charset=utf-8"}, 202),
        (_RIGHT, {"Authorization": ""}, 401),
        (_RIGHT, {"Idempotency-Key": ""}, 400),
        (b'{"name": "A", "number": "1"}', {}, 422),
        (b'{"name": "a", "number": 0}', {}, 422),
        (b'{"name": "a", "number": 1.5}', {}, 422),
        (b'{"name": null, "number": true}', {}, 422),
        (b"{}", {}, 422),
        (b'{"name": "away", "number": 1}', {}, 503),
        (b'{"name": "defect", "number": 1}', {}, 500),
        (b"x" * 65_537, {}, 413),
    ],
    ids=str,
)
async def test_an_express_route_responds_as_a_plain_route(
    client: httpx.AsyncClient, body: bytes, headers: dict[str, str], status: int
) -> None:
    sent = {name: value for name, value in (_HEADERS | headers).items() if value}
    plain = await client.post("/v1/plain", content=body, headers=sent)
    quick = await client.post("/v1/quick", content=body, headers=sent)
    assert plain.status_code == quick.status_code == status
    assert plain.content == quick.content
    assert _headers_but_id(plain) == _headers_but_id(quick)
    assert status == 500 or len(quick.headers["x-request-id"]) == 32


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(each, "application/json") for each in (b"", b"{", b"\xff", b"[]", b"null", b'"a"')]
    + [(_RIGHT, each) for each in ("text/plain", "application/x-www-form-urlencoded", "json", "")],
)
async def test_a_body_that_is_not_a_json_object_is_refused_as_invalid(
    client: httpx.AsyncClient, body: bytes, content_type: str
) -> None:
    headers = _HEADERS | {"Content-Type": content_type}
    response = await client.post("/v1/quick", content=body, headers=headers)
    assert response.status_code == 422
    assert response.json()["type"] == "/problems/invalid-request"
    assert [each["field"] for each in response.json()["errors"]] == ["body"]


async def test_other_methods_and_paths_are_left_to_fastapi(client: httpx.AsyncClient) -> None:
    assert (await client.get("/v1/quick")).status_code == 405
    assert (await client.post("/v1/quick/", headers=_HEADERS)).status_code in {307, 404}
    assert (await client.post("/quick", headers=_HEADERS)).status_code == 404


async def test_the_route_works_without_the_middleware(app: FastAPI) -> None:
    app.user_middleware = [
        each for each in app.user_middleware if "ExpressMiddleware" not in repr(each)
    ]
    assert len(app.user_middleware) == 1, "EdgeMiddleware is left"
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://hall"
    ) as client:
        response = await client.post("/v1/quick", content=_RIGHT, headers=_HEADERS)
        assert response.json() == {"summary": f"me k a 1 {len(_RIGHT)}"}


async def test_its_duration_is_measured_under_its_route(client: httpx.AsyncClient) -> None:
    await client.post("/v1/quick?x=1", content=_RIGHT, headers=_HEADERS)
    wanted = 'http_request_seconds_count{method="POST",route="/v1/quick",status="202"}'
    assert wanted in generate_latest().decode()


def test_an_express_route_is_documented_like_a_plain_route(app: FastAPI) -> None:
    plain, quick = (app.openapi()["paths"][f"/v1/{each}"]["post"] for each in ("plain", "quick"))
    assert {**plain, "operationId": ""} == {**quick, "operationId": ""}
    assert [each["name"] for each in quick["parameters"]] == ["Idempotency-Key"]
    assert quick["security"]


def test_an_unsupported_parameter_is_refused_at_declaration() -> None:
    async def strange(limit: int) -> Response:
        return Response(str(limit))

    with pytest.raises(TypeError, match="cannot read"):
        express.post(APIRouter(), "/strange", status_code=200, response_model=Taken)(strange)


def _headers_but_id(response: httpx.Response) -> dict[str, Any]:
    return {name: value for name, value in response.headers.items() if name != "x-request-id"}
