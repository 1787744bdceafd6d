"""The pages: Swagger UI's files from its package, the rest rendered here. No page loads anything from elsewhere."""

import json
from functools import cache
from pathlib import Path

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from starlette.exceptions import HTTPException
from swagger_ui_bundle import swagger_ui_path  # type: ignore[import-untyped]

from chassis.http.pages import SAFE_HEADERS, page_headers
from events.documents import asyncapi
from events.documents.reference import type_of
from services.billing.docs_pages.openapi import as_3_0
from services.billing.docs_pages.problem_types import PROBLEM_TYPES

router = APIRouter(include_in_schema=False)

_TEMPLATES = Path(__file__).parent / "templates"
_STYLE = (_TEMPLATES / "docs.css").read_text()
# A page of ours: its own style, and nothing else.
_PAGE = page_headers(_STYLE, has_form=False)
# Swagger UI: its files and its calls to this very server. It writes style attributes and draws icons from data: URIs.
_SWAGGER = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    **SAFE_HEADERS,
}
_SWAGGER_FILES = {"swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"}
_START = """SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  deepLinking: true,
  validatorUrl: null,
  docExpansion: "list",
  defaultModelsExpandDepth: -1
});
"""


@router.get("/docs")
async def swagger() -> HTMLResponse:
    """Show Swagger UI."""
    return HTMLResponse(_environment().get_template("swagger.html").render(), headers=_SWAGGER)


@router.get("/docs/start.js")
async def start() -> Response:
    """Return the script that starts Swagger UI; a file of its own, because the page may have no inline script."""
    return Response(_START, media_type="text/javascript", headers=SAFE_HEADERS)


@router.get("/docs/openapi.json")
async def openapi(http: Request) -> JSONResponse:
    """Return the API in OpenAPI 3.0, for Swagger UI; /openapi.json is the 3.1 original."""
    return JSONResponse(as_3_0(http.app.openapi()), headers=SAFE_HEADERS)


@router.get("/docs/assets/{name}")
async def asset(name: str) -> FileResponse:
    """Return a file of the installed Swagger UI."""
    if name not in _SWAGGER_FILES:
        raise HTTPException(404)
    kept = {"Cache-Control": "public, max-age=86400", **SAFE_HEADERS}
    return FileResponse(Path(swagger_ui_path) / name, headers=kept)


@router.get("/docs/events")
async def events_page() -> HTMLResponse:
    """Show the contract of Kafka, for people."""
    return HTMLResponse(_events_page(), headers=_PAGE)


@router.get("/asyncapi.json")
async def asyncapi_document() -> Response:
    """Return the contract of Kafka, for programs."""
    return Response(_asyncapi(), media_type="application/json", headers=SAFE_HEADERS)


@router.get("/problems")
async def problems() -> HTMLResponse:
    """Show all problem types."""
    return HTMLResponse(_problem_page(None), headers=_PAGE)


@router.get("/problems/{slug}")
async def problem(slug: str) -> HTMLResponse:
    """Explain a problem's `type` and what to do about it."""
    if slug in PROBLEM_TYPES:
        return HTMLResponse(_problem_page(slug), headers=_PAGE)
    return HTMLResponse(_problem_page(None, missing=True), status_code=404, headers=_PAGE)


def _problem_page(slug: str | None, missing: bool = False) -> str:
    shown = {slug: PROBLEM_TYPES[slug]} if slug else PROBLEM_TYPES
    template = _environment().get_template("problems.html")
    return template.render(problems=shown, single=slug, missing=missing)


@cache
def _events_page() -> str:
    document = asyncapi.document()
    schemas = document["components"]["schemas"]
    return (
        _environment()
        .get_template("events.html")
        .render(
            info=document["info"],
            channels=document["channels"],
            operations=document["operations"].values(),
            messages=document["components"]["messages"],
            schemas=schemas,
            # Definitions that messages refer to are shown once, after the messages.
            parts={name: each for name, each in schemas.items() if "." not in name},
        )
    )


@cache
def _asyncapi() -> str:
    return json.dumps(asyncapi.document(), ensure_ascii=False)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = Markup(_STYLE)  # noqa: S704 - our own file
    environment.filters["type_of"] = type_of
    environment.filters["last"] = lambda reference: reference.rsplit("/", 1)[1]
    return environment
