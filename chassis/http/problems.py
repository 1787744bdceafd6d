"""Errors as RFC 9457 problems: what is wrong, and what to do about it.

`type` is a relative URI whose page explains the problem; extensions carry what a program may want to read. Each problem
is of a declared type: here are those that any service answers with, a service has a table of its own for the rest.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

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
    """The body of every error response, application/problem+json (RFC 9457). It may have more fields."""

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


class ProblemType(NamedTuple):
    """A problem type. `slug` ends its address; `means` and `do` are the text of its page, and the detail of a
    problem that has nothing more exact to say."""

    slug: str
    status: int
    title: str
    means: str
    do: str


# Problems of every service.
NOT_FOUND = ProblemType(
    "not-found",
    404,
    "Not found",
    "There is no such address, or nothing with this id for you: objects of another channel are not found, either.",
    "Check the id, and that the key belongs to the channel that created it.",
)
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed",
    405,
    "Method not allowed",
    "The address exists and does not take this method.",
    "See /docs.",
)
HTTP_ERROR = ProblemType(
    "http-error",
    400,
    "The request can't be served",
    "The request is not proper HTTP for this address.",
    "Read `detail`.",
)
INVALID_REQUEST = ProblemType(
    "invalid-request",
    422,
    "The request is not valid",
    "A field of the body, the path or the query is missing or has a value that can't be right.",
    "Correct each field that `errors` names. Repeating the request as it is will not help.",
)
BODY_TOO_LARGE = ProblemType(
    "body-too-large",
    413,
    "The request is too large",
    "The body has more bytes than any honest request.",
    "Send less.",
)
TOO_BROAD = ProblemType(
    "too-broad",
    422,
    "Too many at once",
    "The filter would take in too much.",
    "Narrow it as `detail` says.",
)
UNAUTHORIZED = ProblemType(
    "unauthorized",
    401,
    "Who is calling?",
    "There is no key, or it is unknown or revoked.",
    "Send `Authorization: Bearer …` with a key that your operator issued.",
)
UNAVAILABLE = ProblemType(
    "unavailable",
    503,
    "Try again shortly",
    "The database can't be reached. Nothing of the request was kept.",
    "Repeat the request with the same Idempotency-Key after `Retry-After` seconds.",
)
BAD_ENDPOINT = ProblemType(
    "bad-endpoint",
    422,
    "Webhooks can't go there",
    "The address is not one that we send to.",
    "Name a public https address.",
)


class Problem(Exception):  # noqa: N818 - RFC 9457 names it so
    """Raised anywhere below a route; answered as application/problem+json."""

    def __init__(
        self,
        problem_type: ProblemType,
        detail: str | None = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        """Take `detail` (what happened and what to do) and `status` instead of the type's, if given."""
        detail = detail or f"{problem_type.means} {problem_type.do}"
        super().__init__(detail)
        self.status = status or problem_type.status
        self.headers = dict(headers or {})
        self.body = {
            "type": f"/problems/{problem_type.slug}",
            "title": problem_type.title,
            "status": self.status,
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
    """Return the response to an error; None for an error that only a defect of ours can raise."""
    for kind in type(error).__mro__:
        if kind in _ANSWERS:
            return answer(_ANSWERS[kind](error))
    return None


def answer(problem: Problem) -> JSONResponse:
    """Return the response of a problem."""
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
    details = "; ".join(f"{each['field']}: {each['message']}" for each in errors[:5])
    return Problem(INVALID_REQUEST, f"Correct {details}", errors=errors)


def _http(error: Any) -> Problem:
    kind = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}.get(error.status_code, HTTP_ERROR)
    detail = {
        404: "There is nothing at this address. See /docs for what there is.",
        405: "This address does not take that method. See /docs.",
    }.get(error.status_code, str(error.detail))
    return Problem(kind, detail, status=error.status_code, headers=error.headers)


def _unavailable(error: Any) -> Problem:
    log.error("database_unavailable", error=type(error).__name__, error_text=str(error)[:300])
    return Problem(UNAVAILABLE, headers={"Retry-After": "1"})


_ANSWERS: dict[type, Callable[[Any], Problem]] = {
    Problem: _itself,
    RequestValidationError: _invalid,
    HTTPException: _http,
    # The last three are errors of the driver: COPY bypasses SQLAlchemy.
    **dict.fromkeys(
        (
            *(InterfaceError, OperationalError, DBAPIError, OSError, TimeoutError),
            *(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError),
        ),
        _unavailable,
    ),
}
