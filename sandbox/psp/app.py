"""The PSP as one ASGI application."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import HTMLResponse, RedirectResponse
from starlette.routing import Route

from sandbox.psp import approval_page, control
from sandbox.psp.api import errors
from sandbox.psp.api.idempotency_keys import PspAnswer
from sandbox.psp.api.params import parse
from sandbox.psp.api.psp_calls import ApiEndpoint, PspCalls
from sandbox.psp.api.stripe_endpoints import ENDPOINTS
from sandbox.psp.money import intents
from sandbox.psp.provider import Provider
from sandbox.psp.psp_faults import PspFaults
from sandbox.psp.psp_store import PspStore, encode
from sandbox.psp.webhook_sender import Webhooks
from sandbox.stand_in.connection import WithTransport
from sandbox.stand_in.serve import liveness

_CSP = "default-src 'none'; style-src 'unsafe-inline'; form-action *; frame-ancestors 'none'"


@dataclass(frozen=True, slots=True)
class Secrets:
    """The PSP's API key and webhook secret."""

    api_key: str = field(repr=False)
    webhook: str = field(repr=False)


def create_app(
    state: Path,
    base_url: str,
    secrets: Secrets,
    *,
    webhook_url: str | None = None,
    seed: int | None = None,
    search_lag_seconds: int | None = None,
) -> WithTransport:
    """The PSP that remembers in `state`; `base_url` is where payers find its pages."""
    provider = Provider(PspStore(state), base_url, seed)
    if search_lag_seconds is not None:
        provider.set_search_lag(search_lag_seconds)
    faults = PspFaults(provider.store, seed)
    webhooks = Webhooks(provider, secrets.webhook)
    if webhook_url is not None:
        webhooks.configure(webhooks.settings.model_copy(update={"url": webhook_url}))
        provider.store.commit()
    calls = PspCalls(provider, faults, secrets.api_key)
    app = FastAPI(
        title="Sandbox PSP",
        lifespan=_lifespan(provider, webhooks),
        docs_url=None,
        redoc_url=None,
        # Plain routes: Stripe's nested forms are no FastAPI parameters, and solving none costs 60 µs a request.
        routes=[
            Route(endpoint.path, _route(calls, endpoint), methods=[endpoint.method])
            for endpoint in ENDPOINTS
        ],
    )
    app.include_router(control.routes(provider, faults, webhooks))
    app.include_router(liveness)
    _pages(app, provider)
    _errors(app)
    return WithTransport(app)


def _lifespan(
    provider: Provider, webhooks: Webhooks
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        sending = asyncio.create_task(webhooks.run())
        yield
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)
        await webhooks.aclose()
        provider.store.close()

    return lifespan


def _route(calls: PspCalls, endpoint: ApiEndpoint) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return await calls.answer(endpoint, request)

    return answer


def _pages(app: FastAPI, provider: Provider) -> None:
    @app.get("/authenticate/{client_secret}", include_in_schema=False)
    async def _show(client_secret: str) -> HTMLResponse:
        intent = approval_page.find(provider, client_secret)
        return _html(approval_page.page(intent), 404 if intent is None else 200)

    @app.post("/authenticate/{client_secret}", include_in_schema=False)
    async def _decide(client_secret: str, request: Request) -> Response:
        intent = approval_page.find(provider, client_secret)
        decision = parse(await request.body()).get("decision")
        if intent is None or decision not in {"approve", "refuse"}:
            return _html(approval_page.page(intent), 404 if intent is None else 400)
        return_url = _return_url(intent)
        with provider.store.undone_on_error():
            done = intents.authenticate(provider, intent["id"], approved=decision == "approve")
        await provider.store.durable()
        if return_url is None:
            return _html(approval_page.page(done), 200)
        return RedirectResponse(approval_page.back(done, return_url), status_code=303)


def _return_url(intent: dict[str, object]) -> str | None:
    action = intent["next_action"]
    if not isinstance(action, dict):
        return None
    return action[action["type"]].get("return_url")  # type: ignore[no-any-return]


def _html(text: str, status: int) -> HTMLResponse:
    return HTMLResponse(text, status, {"Content-Security-Policy": _CSP})


def _errors(app: FastAPI) -> None:
    @app.exception_handler(errors.ApiError)
    async def _api_error(_: Request, error: errors.ApiError) -> Response:
        return _json(error.status, error.body)

    @app.exception_handler(RequestValidationError)
    async def _bad_request(_: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        return _json(400, errors.invalid(f"{where or 'body'}: {first['msg']}").body)

    @app.exception_handler(HTTPException)
    async def _not_found(request: Request, error: HTTPException) -> Response:
        what = f"Unrecognized request URL ({request.method}: {request.url.path})."
        return _json(error.status_code, errors.invalid(what).body)

    @app.exception_handler(Exception)
    async def _bug(_: Request, __: Exception) -> Response:
        # uvicorn logs it with its traceback.
        return _json(500, errors.broken().body)


def _json(status: int, body: dict[str, object]) -> Response:
    answer = PspAnswer(status, encode(body))
    return Response(answer.body, answer.status, media_type="application/json")
