"""Process: HTTP for wallets, the PSP's webhooks, the public receipt page and the documentation.

`python -m services.billing.web`. It never calls a biller or the PSP: it writes promises, and the worker carries them
out.
"""

import sys

from fastapi import APIRouter, FastAPI
from fastapi.responses import RedirectResponse

from chassis.http import web
from chassis.telemetry import configure_logging
from services.billing.bills import routes as bills
from services.billing.catalog import routes as catalog
from services.billing.channels import TrustError, door_key, read_trust
from services.billing.database import connect
from services.billing.docs_pages import routes as docs_pages
from services.billing.door import routes as payments
from services.billing.door import webhooks
from services.billing.receipts import routes as receipts
from services.billing.settings import Settings

DESCRIPTION = """
Look a bill up, pay it, get a receipt. Amounts are integers in minor units next to an ISO 4217 currency: 8850 CNY is
¥88.50.

* Authenticate with `Authorization: Bearer mh_…`, a key of your channel.
* Every POST needs an `Idempotency-Key`: repeat it with the same body as often as you like; another body is an error.
* Errors are RFC 9457 problems: `detail` says what to do, `type` leads to a page that explains it.
"""

home = APIRouter(include_in_schema=False)


@home.get("/")
async def to_the_documentation() -> RedirectResponse:
    """Redirect a browser that opens the root address to the documentation."""
    return RedirectResponse("/docs")


def create_app(settings: Settings) -> FastAPI:
    """Return the application with its engine. Raises TrustError when there is no key to sign commands with."""
    key = door_key(read_trust(settings))
    engine = connect(settings.database_url.get_secret_value(), pool_size=settings.pool_size)
    parts = (catalog, bills, payments, receipts, webhooks, docs_pages)
    routers = [home, *(part.router for part in parts)]
    app = web.create("Meterhall", DESCRIPTION, engine, settings, routers)
    app.state.door_key = key
    return app


def main() -> None:
    configure_logging("web")
    settings = Settings()
    try:
        app = create_app(settings)
    except TrustError as error:
        sys.exit(str(error))
    web.serve(app, settings.web_host, settings.web_port)


if __name__ == "__main__":
    main()
