"""A service's web process: problems for errors, bounded bodies, probes and metrics. The service adds its routes."""

import contextlib
import socket
from collections.abc import AsyncIterator, Sequence
from typing import Any

import uvicorn
from fastapi import APIRouter, FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.frozen import ending_frozen_sessions
from chassis.http import problems
from chassis.http.edge import EdgeMiddleware
from chassis.http.express import ExpressMiddleware
from chassis.http.route import engine_of
from chassis.process import tune_garbage_collector


def create(
    title: str, description: str, engine: AsyncEngine, settings: Any, routers: Sequence[APIRouter]
) -> FastAPI:
    """Return the application, with `app.state.engine` and `app.state.settings`.

    The engine is disposed of at its end.
    """

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with ending_frozen_sessions(engine):
            yield
        await engine.dispose()

    app = FastAPI(
        title=title,
        description=description,
        version="1",
        lifespan=lifespan,
        responses=problems.DOCUMENTED,
        # FastAPI's own pages load their scripts from the internet.
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine = engine
    app.state.settings = settings
    problems.install(app)
    app.add_middleware(ExpressMiddleware, routers=routers)
    app.add_middleware(EdgeMiddleware)
    for router in (*routers, _probes):
        app.include_router(router)
    return app


def serve(app: FastAPI, host: str, port: int) -> None:
    """Serve until stopped. The first line on standard output is the address; port 0 takes a free port."""
    listener = socket.create_server((host, port), backlog=1024)
    print(f"http://{host}:{listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        # Longer than a caller's pool keeps an idle connection, so that the caller is the side that closes it.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
    )
    tune_garbage_collector()
    uvicorn.Server(config).run(sockets=[listener])


_probes = APIRouter(include_in_schema=False)


@_probes.get("/livez")
async def livez() -> dict[str, str]:
    """Answer 200: the event loop is running."""
    return {"status": "alive"}


@_probes.get("/readyz")
async def readyz(http: Request) -> dict[str, str]:
    """Answer 200 when the database answers, else 503.

    Kafka is not checked: while it is away, the outbox stores events.
    """
    async with engine_of(http).connect() as connection:
        await connection.execute(text("SELECT 1 FROM outbox_cursor"))
    return {"status": "ready"}


@_probes.get("/metrics")
async def metrics() -> Response:
    """Return the metrics for Prometheus."""
    return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)
