"""Errors as RFC 9457 problems: what is wrong, and what to do about it.

`type` is a relative URI whose page explains the problem; extension fields are for programs. Each problem is of a
declared type: the types of all services are here, the others in a table of their service.
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
    """The body of every error response, application/problem+json (RFC 9457). A problem may have more fields."""

    type: str = Field(
        description="the address of a page that explains it, for example /problems/bill-expired"
    )
    title: str
    status: int
    detail: str = Field(description="what to do about it")


# For OpenAPI: the error responses of every route, besides those that it declares itself.
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    code: {
        "description": description,
        "content": {"application/problem+json": {"schema": Body.model_json_schema()}},
    }
    for code, description in (
        ("4XX", "The request cannot be carried out; `detail` says what to do"),
        ("422", "The request is not valid, or against a rule; `detail` says which"),
        ("503", "Not now; the same request may be sent again"),
    )
}


class ProblemType(NamedTuple):
    """A type of problem. `slug` ends its address; its page shows `means` and `do`.

    They are also the detail of a problem that is raised without one.
    """

    slug: str
    status: int
    title: str
    means: str
    do: str


# The problem types of all services.
NOT_FOUND = ProblemType(
    "not-found",
    404,
    "Not found",
    "The address does not exist, or it names an object that does not exist or belongs to another channel.",
    "Check the id, and that you use the key of the channel that created the object.",
)
METHOD_NOT_ALLOWED = ProblemType(
    "method-not-allowed",
    405,
    "Method not allowed",
    "The address exists, but does not accept this method.",
    "See /docs.",
)
HTTP_ERROR = ProblemType(
    "http-error",
    400,
    "The request cannot be served",
    "The request is not valid HTTP, or not what this address accepts.",
    "Read `detail`.",
)
INVALID_REQUEST = ProblemType(
    "invalid-request",
    422,
    "The request is not valid",
    "A field of the body, the path or the query is missing or has an invalid value.",
    "Correct each field that `errors` names. Repeating the request as it is will not help.",
)
BODY_TOO_LARGE = ProblemType(
    "body-too-large",
    413,
    "The request is too large",
    "The body has more bytes than any valid request, or its length is not given.",
    "Send a smaller body, with its Content-Length.",
)
TOO_BROAD = ProblemType(
    "too-broad",
    422,
    "The filter matches too much",
    "The filter matches more than one request may change.",
    "Narrow it as `detail` says.",
)
UNAUTHORIZED = ProblemType(
    "unauthorized",
    401,
    "The key is missing or not valid",
    "The request has no key, or its key is unknown or revoked.",
    "Send `Authorization: Bearer …` with a key that your operator issued.",
)
UNAVAILABLE = ProblemType(
    "unavailable",
    503,
    "Try again shortly",
    "The database cannot be reached. Nothing of the request was stored.",
    "Repeat the request with the same Idempotency-Key after `Retry-After` seconds.",
)
BAD_ENDPOINT = ProblemType(
    "bad-endpoint",
    422,
    "The webhook address is not allowed",
    "Webhooks are not sent to this address.",
    "Use a public https address.",
)


class Problem(Exception):  # noqa: N818 - RFC 9457 names it so
    """An error that becomes an application/problem+json response; raise it anywhere below a route."""

    def __init__(
        self,
        problem_type: ProblemType,
        detail: str | None = None,
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
        **extensions: Any,
    ) -> None:
        """`detail` says what is wrong here and what to do; `status` overrides the type's status."""
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
    """Make the app answer every error with a problem."""

    async def handle(_: Request, error: Exception) -> Response:
        response = response_to(error)
        assert response
        return response

    for kind in _PROBLEM_OF:
        app.add_exception_handler(kind, handle)


def response_to(error: Exception) -> Response | None:
    """Return the problem response for an error, or None when only a defect of ours can raise it."""
    for kind in type(error).__mro__:
        if kind in _PROBLEM_OF:
            return response_of(_PROBLEM_OF[kind](error))
    return None


def response_of(problem: Problem) -> JSONResponse:
    """Return the response for this problem."""
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
    # The input is left out: it may hold personal data, which must not be in a log.
    errors = [
        {"field": ".".join(str(part) for part in each["loc"][1:]) or "body", "message": each["msg"]}
        for each in error.errors()
    ]
    details = "; ".join(f"{each['field']}: {each['message']}" for each in errors[:5])
    return Problem(INVALID_REQUEST, f"Correct {details}", errors=errors)


def _http(error: Any) -> Problem:
    kind = {404: NOT_FOUND, 405: METHOD_NOT_ALLOWED}.get(error.status_code, HTTP_ERROR)
    detail = {
        404: "This address does not exist. See /docs for the addresses of this service.",
        405: "This address does not accept that method. See /docs.",
    }.get(error.status_code, str(error.detail))
    return Problem(kind, detail, status=error.status_code, headers=error.headers)


def _unavailable(error: Any) -> Problem:
    log.error("database_unavailable", error=type(error).__name__, error_text=str(error)[:300])
    return Problem(UNAVAILABLE, headers={"Retry-After": "1"})


_PROBLEM_OF: dict[type, Callable[[Any], Problem]] = {
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
