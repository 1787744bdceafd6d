"""Express routes: requests so frequent that reading them through FastAPI would cost more than answering them.

FastAPI documents an express route from its signature like any other route. The request is read here instead, by
`ExpressMiddleware`, in front of FastAPI's own layers. An endpoint takes at most the Request, a model as its body, and
dependencies, which may read headers; it returns a Response.
"""

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from email.message import Message
from functools import lru_cache
from typing import Any, TypeVar, get_type_hints

from fastapi import APIRouter, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Header
from fastapi.routing import APIRoute
from fastapi.security.base import SecurityBase
from pydantic import BaseModel, ValidationError
from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.http.problems import response_to

_Endpoint = TypeVar("_Endpoint", bound=Callable[..., Awaitable[Response]])
_Handler = Callable[[Request], Coroutine[Any, Any, Response]]
_Reader = Callable[[Request], Awaitable[Any]]


def post(
    router: APIRouter, path: str, *, status_code: int, response_model: type[BaseModel]
) -> Callable[[_Endpoint], _Endpoint]:
    """Declare an express route, as `@router.post` declares others.

    `response_model` documents the body of its Response.
    """

    def declare(endpoint: _Endpoint) -> _Endpoint:
        router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            status_code=status_code,
            response_model=response_model,
            route_class_override=Express,
        )
        return endpoint

    return declare


class Express(APIRoute):
    """An express route."""

    def get_route_handler(self) -> _Handler:
        """Return the function that reads the request and calls the endpoint, for FastAPI's router and for
        ExpressMiddleware.
        """
        return _with_arguments(self.endpoint)


class ExpressMiddleware:
    """A layer of the app that serves express routes by their exact path and passes everything else on to FastAPI."""

    def __init__(self, app: ASGIApp, routers: Sequence[APIRouter]) -> None:
        self._app = app
        self._routes = {
            (method, route.path): (route, route.get_route_handler())
            for router in routers
            for route in router.routes
            if isinstance(route, Express)
            for method in route.methods or ()
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        entry = self._routes.get((scope.get("method", ""), scope.get("path", "")))
        if entry is None:
            await self._app(scope, receive, send)
            return
        scope["route"], handle = entry
        try:
            response = await handle(Request(scope, receive, send))
        except Exception as error:
            problem = response_to(error)
            if problem is None:
                raise
            response = problem
        await response(scope, receive, send)


def _with_arguments(
    call: Callable[..., Awaitable[Any]],
) -> Callable[[Request], Coroutine[Any, Any, Any]]:
    # Calls the endpoint with arguments from the request: authentication first, and the body only when all else is
    # valid.
    hints = get_type_hints(call, include_extras=True)
    hints.pop("return", None)
    readers = [(name, reader) for name, hint in hints.items() if (reader := _reader(hint))]
    readers.sort(key=lambda each: isinstance(each[1], _Body))

    async def handler(http: Request) -> Any:
        return await call(**{name: await reader(http) for name, reader in readers})

    return handler


def _reader(hint: Any) -> _Reader | None:
    if hint is Request:
        return _itself
    if isinstance(hint, type) and issubclass(hint, BaseModel):
        return _Body(hint)
    for marker in getattr(hint, "__metadata__", ()):
        if isinstance(marker, Depends) and marker.dependency:
            # A security scheme is only for the documentation.
            return (
                None
                if isinstance(marker.dependency, SecurityBase)
                else _with_arguments(marker.dependency)
            )
        if isinstance(marker, Header) and marker.alias:
            return _header(marker.alias)
    raise TypeError(f"an express route cannot read a parameter of type {hint}")


async def _itself(http: Request) -> Request:
    return http


def _header(name: str) -> _Reader:
    async def header(http: Request) -> str | None:
        return http.headers.get(name)

    return header


class _Body:
    """Reads the body as this model. Raises FastAPI's RequestValidationError when it is not valid."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model

    async def __call__(self, http: Request) -> BaseModel:
        if not _is_json(http.headers.get("content-type", "")):
            message = "Input should be JSON, with `Content-Type: application/json`"
            raise RequestValidationError([{"type": "not_json", "loc": ("body",), "msg": message}])
        try:
            return self._model.model_validate_json(await http.body())
        except ValidationError as error:
            errors = error.errors(include_url=False, include_context=False)
            raise RequestValidationError(
                [{**each, "loc": ("body", *each["loc"])} for each in errors]
            ) from None


@lru_cache(64)
def _is_json(content_type: str) -> bool:
    header = Message()
    header["content-type"] = content_type
    kind = header.get_content_subtype()
    return header.get_content_maintype() == "application" and (
        kind == "json" or kind.endswith("+json")
    )
