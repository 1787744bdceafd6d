"""Process: HTTP for channels. `python -m services.notifications.web`"""

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.http import web
from chassis.telemetry import configure_logging
from services.notifications.database import connect
from services.notifications.deliveries import routes as deliveries
from services.notifications.recipients import routes as recipients
from services.notifications.settings import Settings

DESCRIPTION = "Mail addresses of payers, webhook endpoints of channels, and deliveries to them."

docs = APIRouter(include_in_schema=False)


@docs.get("/docs")
async def openapi() -> RedirectResponse:
    """Redirect to the OpenAPI document: six routes need no pages."""
    return RedirectResponse("/openapi.json")


def create_app(settings: Settings, engine: AsyncEngine) -> FastAPI:
    """Return the application. The engine is disposed of when it ends."""
    routers = [recipients.router, deliveries.router, docs]
    return web.create("Meterhall notifications", DESCRIPTION, engine, settings, routers)


def main() -> None:
    configure_logging("notifications-web")
    settings = Settings()
    url = settings.notifications_database_url.get_secret_value()
    engine = connect(url, pool_size=settings.pool_size)
    app = create_app(settings, engine)
    web.serve(app, settings.notifications_web_host, settings.notifications_web_port)


if __name__ == "__main__":
    main()
