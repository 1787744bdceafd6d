"""Errors as RFC 9457 problems: what is wrong, and what to do about it.

`type` is a relative URI whose page explains the problem; extensions carry what a program may want to read.
"""

from collections.abc import Callable, Mapping
from typing import Any

import asyncpg
import structlog
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from starlette.exceptions import HTTPException

log = structlog.get_logger()


class Body(BaseModel):
    """What every error answers with, as application/problem+json (RFC 9457). More fields may stand beside these."""

    type: str = Field(
        description="leads to a page that explains it, for example /problems/bill-expired"
    )
    title: str
    status: int
    detail: str = Field(description="what to do about it")


# For OpenAPI: what any route may answer besides what it says itself.
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    code: {
        "description": said,
        "content": {"application/problem+json": {"schema": Body.model_json_schema()}},
    }
    for code, said in (
        ("4XX", "The request can't be carried out; `detail` says what to do"),
        ("422", "The request is not valid, or against a rule; `detail` says which"),
        ("503", "Not now; the same request may be sent again"),
    )
}


class Problem(Exception):  # noqa: N818 - RFC 9457 names it so
    """Raised anywhere below a route; answered as application/problem+json."""

    def __init__(
        self,
        status: int,
        slug: str,
        title: str,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.headers = dict(headers or {})
        self.body = {
            "type": f"/problems/{slug}",
            "title": title,
            "status": status,
            "detail": detail,
            **extensions,
        }


def install(app: FastAPI) -> None:
    """Have the app answer every error as a problem."""

    async def handle(_: Request, error: Exception) -> Response:
        known = answer_to(error)
        assert known
        return known

    for kind in _ANSWERS:
        app.add_exception_handler(kind, handle)


def answer_to(error: Exception) -> Response | None:
    """The problem that an error is answered with; None for one that only a defect of ours can raise."""
    for kind in type(error).__mro__:
        if kind in _ANSWERS:
            return answer(_ANSWERS[kind](error))
    return None


def answer(problem: Problem) -> JSONResponse:
    """The response that says it."""
    return JSONResponse(
        problem.body,
        status_code=problem.status,
        headers=problem.headers,
        media_type="application/problem+json",
    )


def _itself(error: Any) -> Problem:
    assert isinstance(error, Problem)
    return error


def _invalid(error: Any) -> Problem:
    # The input is left out: it may hold what must not be in a log.
    errors = [
        {"field": ".".join(str(part) for part in each["loc"][1:]) or "body", "message": each["msg"]}
        for each in error.errors()
    ]
    said = "; ".join(f"{each['field']}: {each['message']}" for each in errors[:5])
    return Problem(
        422, "invalid-request", "The request is not valid", f"Correct {said}", errors=errors
    )


def _http(error: Any) -> Problem:
    slug = {404: "not-found", 405: "method-not-allowed"}.get(error.status_code, "http-error")
    detail = {
        404: "There is nothing at this address. See /docs for what there is.",
        405: "This address does not take that method. See /docs.",
    }.get(error.status_code, str(error.detail))
    return Problem(error.status_code, slug, str(error.detail), detail, error.headers)


def _unavailable(error: Any) -> Problem:
    log.error("database_unavailable", error=type(error).__name__, said=str(error)[:300])
    detail = "The database can't be reached. Nothing was kept; try again with the same key."
    return Problem(503, "unavailable", "Try again shortly", detail, headers={"Retry-After": "1"})


_ANSWERS: dict[type, Callable[[Any], Problem]] = {
    Problem: _itself,
    RequestValidationError: _invalid,
    HTTPException: _http,
    # The last three are the driver's own: COPY goes past SQLAlchemy.
    **dict.fromkeys(
        (
            *(InterfaceError, OperationalError, DBAPIError, OSError, TimeoutError),
            *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
        ),
        _unavailable,
    ),
}
