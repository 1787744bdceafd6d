"""Process: HTTP for channels. `python -m services.notifications.web`

The first line on standard output tells the address; port 0 takes a free one.
"""

import contextlib
import socket
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp, Receive, Scope, Send

from messaging import problems
from messaging.telemetry import configure_logging
from services.notifications.database import connect
from services.notifications.routes import router
from services.notifications.settings import Settings

# An address or a URL and a few words around it.
LARGEST_BODY_BYTES = 16_384


def create_app(settings: Settings, engine: AsyncEngine) -> FastAPI:
    """The application. The engine is disposed of when it ends."""

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(
        title="Meterhall notifications",
        description="Where payers and channels are told: mail addresses, webhook endpoints, deliveries.",
        version="1",
        lifespan=lifespan,
        # FastAPI's own pages load their scripts from the internet.
        docs_url=None,
        redoc_url=None,
    )
    app.state.settings = settings
    app.state.engine = engine
    problems.install(app)
    app.add_middleware(BoundedBody)
    app.include_router(router)
    _probes(app)
    return app


class BoundedBody:
    """Refuses a request whose body is large or says no length, before a byte of it is read: routes read it whole."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope.get("headers", ()))
        length = headers.get(b"content-length", b"0")
        fits = length.isdigit() and int(length) <= LARGEST_BODY_BYTES
        if fits and b"transfer-encoding" not in headers:
            await self._app(scope, receive, send)
            return
        detail = f"Send a body of at most {LARGEST_BODY_BYTES} bytes, and its Content-Length."
        refusal = problems.Problem(413, "body-too-large", "The request is too large", detail)
        await problems.answer(refusal)(scope, receive, send)


def _probes(app: FastAPI) -> None:
    @app.get("/docs", include_in_schema=False)
    async def docs() -> RedirectResponse:
        return RedirectResponse("/openapi.json")

    @app.get("/livez", include_in_schema=False)
    async def livez() -> dict[str, str]:
        return {"status": "alive"}

    @app.get("/readyz", include_in_schema=False)
    async def readyz(http: Request) -> dict[str, str]:
        # A database that is away is answered as 503, like everywhere.
        async with http.app.state.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        return {"status": "ready"}

    @app.get("/metrics", include_in_schema=False)
    async def metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def main() -> None:
    configure_logging("notifications-web")
    settings = Settings()
    engine = connect(
        settings.notifications_database_url.get_secret_value(), pool_size=settings.pool_size
    )
    host = settings.notifications_web_host
    listener = socket.create_server((host, settings.notifications_web_port), backlog=512)
    print(f"http://{host}:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        create_app(settings, engine),
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=10,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
