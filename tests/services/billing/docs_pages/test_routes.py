"""The documentation needs nobody but us: no page loads anything from elsewhere, and every link leads somewhere."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from jsonschema import Draft4Validator

from chassis.http import problems
from events import EVENT_TYPES
from events.documents import asyncapi
from services.billing.bills import routes as bills_routes
from services.billing.catalog import routes as catalog_routes
from services.billing.docs_pages import routes as docs_pages
from services.billing.docs_pages.openapi import as_3_0
from services.billing.docs_pages.problem_types import PROBLEM_TYPES
from services.billing.door import routes as payments_routes
from services.billing.receipts import routes as receipts_routes

PAGES = ("/docs", "/docs/events", "/problems", "/problems/bill-expired", "/problems/nonsense")


@pytest.fixture
def app() -> FastAPI:
    made = FastAPI(title="Meterhall", docs_url=None, redoc_url=None)
    problems.install(made)
    for each in (docs_pages, catalog_routes, bills_routes, payments_routes, receipts_routes):
        made.include_router(each.router)
    return made


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://hall") as made:
        yield made


class _Loads(HTMLParser):
    """The resources, links, scripts and inline styles of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: set[str] = set()
        self.inline: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        self.ids.add(found.get("id", ""))
        if tag == "a":
            self.links.append(found["href"])
        elif "src" in found or tag == "link":
            self.loads.append(found.get("src") or found["href"])
        elif tag == "script":
            self.inline.append("script")
        self.inline += [name for name in found if name.startswith("on") or name == "style"]


@pytest.mark.parametrize("path", PAGES)
async def test_a_page_loads_only_what_we_serve(client: httpx.AsyncClient, path: str) -> None:
    page = await client.get(path)
    found = _Loads(page.text)
    assert not found.inline
    for each in found.loads:
        assert re.match(r"^/(?!/)", each), f"{each} is somebody else's"
        assert (await client.get(each)).status_code == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy, "no origin but our own"
    assert ("script-src" in policy) == (path == "/docs")


@pytest.mark.parametrize("path", PAGES[1:])
async def test_every_link_of_ours_leads_somewhere(client: httpx.AsyncClient, path: str) -> None:
    found = _Loads((await client.get(path)).text)
    ours = {each for each in found.links if not each.startswith("https://")}
    assert len(ours) >= 3
    for each in ours:
        if each.startswith("#"):
            assert each[1:] in found.ids
        else:
            assert (await client.get(each)).status_code == 200, each


async def test_swagger_ui_is_started_with_a_document_that_it_knows(
    client: httpx.AsyncClient,
) -> None:
    script = (await client.get("/docs/start.js")).text
    (url,) = re.findall(r'url: "([^"]+)"', script)
    document = (await client.get(url)).json()
    assert document["openapi"].startswith("3.0."), "version 4 of Swagger UI refuses 3.1"
    assert "/v1/payments" in document["paths"]
    assert "/docs" not in document["paths"]


async def test_only_the_files_of_the_page_are_served(client: httpx.AsyncClient) -> None:
    assert (await client.get("/docs/assets/swagger-ui-bundle.js")).status_code == 200
    for name in ("index.html", "swagger-ui.js.map", "..%2f__init__.py", "%2e%2e/__init__.py"):
        assert (await client.get(f"/docs/assets/{name}")).status_code == 404


async def test_the_events_page_names_every_message_and_field(client: httpx.AsyncClient) -> None:
    page = (await client.get("/docs/events")).text
    for ce_type, model in EVENT_TYPES.items():
        assert f"<code>{ce_type}</code>" in page
        part = page.split(f'id="{asyncapi.name_of(model)}"')[1].split("</article>")[0]
        assert all(f"<code>{name}</code>" in part for name in model.model_fields)


async def test_the_asyncapi_document_is_served_as_it_is(client: httpx.AsyncClient) -> None:
    assert (await client.get("/asyncapi.json")).json() == asyncapi.document()


async def test_a_problem_is_explained_and_an_unknown_one_is_not(client: httpx.AsyncClient) -> None:
    page = await client.get("/problems/idempotency-key-reused")
    assert page.status_code == 200
    assert PROBLEM_TYPES["idempotency-key-reused"].do in page.text
    unknown = await client.get("/problems/<b>")
    assert unknown.status_code == 404
    assert all(f'href="/problems/{slug}"' in unknown.text for slug in PROBLEM_TYPES)


async def test_an_error_leads_to_its_page(client: httpx.AsyncClient) -> None:
    error = await client.get("/v1/payments")
    assert error.status_code == 401
    explained = await client.get(error.json()["type"])
    assert PROBLEM_TYPES["unauthorized"].title in explained.text


@pytest.mark.parametrize(
    ("newer", "older"),
    [
        ({"const": "psp"}, {"enum": ["psp"]}),
        ({"exclusiveMinimum": 0}, {"minimum": 0, "exclusiveMinimum": True}),
        ({"examples": [1, 2]}, {"example": 1}),
        (
            {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}], "title": "T"},
            {"type": "integer", "minimum": 1, "title": "T", "nullable": True},
        ),
        (
            {"anyOf": [{"$ref": "#/x"}, {"type": "null"}]},
            {"allOf": [{"$ref": "#/x"}], "nullable": True},
        ),
        (
            {"anyOf": [{"type": "integer"}, {"type": "string"}, {"type": "null"}]},
            {"anyOf": [{"type": "integer"}, {"type": "string"}], "nullable": True},
        ),
        # A field may be called like a keyword.
        ({"properties": {"const": {"const": 1}}}, {"properties": {"const": {"enum": [1]}}}),
    ],
)
def test_a_schema_is_said_in_the_older_dialect(newer: Any, older: Any) -> None:
    assert as_3_0({"x": newer})["x"] == older


def test_nothing_of_the_newer_dialect_is_left(app: FastAPI) -> None:
    document = as_3_0(app.openapi())
    for schema in document["components"]["schemas"].values():
        # 3.0's schemas are those of JSON Schema draft 4 and 5, in what we use.
        Draft4Validator.check_schema(schema)
        assert not re.search(r"'const'|'type': 'null'", str(schema))
