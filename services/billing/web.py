"""Process: HTTP for wallets, the PSP's webhooks, the public receipt page and the documentation.

`python -m services.billing.web`. It never calls a biller or the PSP: it promises, and the worker keeps.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from sqlalchemy import text

from messaging.telemetry import configure_logging
from services.billing import docs_pages, problems
from services.billing.bills import routes as bills
from services.billing.catalog import routes as catalog
from services.billing.database import connect
from services.billing.middleware import Edge
from services.billing.payments import routes as payments
from services.billing.payments import webhooks
from services.billing.receipts import routes as receipts
from services.billing.settings import Settings

DESCRIPTION = """
Look a bill up, pay it, get a receipt. Amounts are integers in minor units next to an ISO 4217 currency: 8850 CNY is
¥88.50.

* Authenticate with `Authorization: Bearer mh_…`, a key of your channel.
* Every POST needs an `Idempotency-Key`: repeat it with the same body as often as you like; another body is an error.
* Errors are RFC 9457 problems: `detail` says what to do, `type` leads to a page that explains it.
"""


def create_app(settings: Settings) -> FastAPI:
    """The application; its engine lives as long as it does."""
    engine = connect(settings.database_url.get_secret_value(), pool_size=settings.pool_size)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(
        title="Meterhall",
        version="1",
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine = engine
    app.state.settings = settings
    problems.install(app)
    app.add_middleware(Edge)
    for part in (catalog, bills, payments, receipts, webhooks, docs_pages):
        app.include_router(part.router)
    _probes(app)
    return app


def _probes(app: FastAPI) -> None:
    @app.get("/", include_in_schema=False)
    async def _home() -> RedirectResponse:
        return RedirectResponse("/docs")

    @app.get("/livez", include_in_schema=False)
    async def _livez() -> dict[str, str]:
        return {"status": "ok"}

    @app.get("/readyz", include_in_schema=False)
    async def _readyz() -> dict[str, str]:
        # Kafka is not asked: while it is down, promises are kept in the outbox.
        async with app.state.engine.connect() as connection:
            await connection.execute(text("SELECT FROM outbox_cursor"))
        return {"status": "ok"}

    @app.get("/metrics", include_in_schema=False)
    async def _metrics() -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


def main() -> None:
    configure_logging("web")
    settings = Settings()
    uvicorn.run(
        create_app(settings),
        host=settings.web_host,
        port=settings.web_port,
        log_config=None,
        access_log=False,
        server_header=False,
        # Longer than a wallet's own pool keeps a silent connection, so that it is the wallet that closes it.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=20,
    )


if __name__ == "__main__":
    main()
