"""All billers as one ASGI application."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Route

from sandbox.billers import city, control
from sandbox.billers.calls import Calls
from sandbox.billers.desk import Desk
from sandbox.billers.faults import Faults
from sandbox.billers.files import FileBillers
from sandbox.billers.store import Store, day_of
from sandbox.connection import WithTransport


def create_app(
    state: Path,
    data_dir: Path,
    secrets: Mapping[str, str],
    *,
    seed: int,
    accounts_per_biller: int,
) -> WithTransport:
    """The billers that remember in `state`; raises city.OtherCityError when that was made from another seed."""
    store = Store(state)
    city.found(store, seed, accounts_per_biller)
    desk = Desk(store)
    faults = Faults(store, seed)
    files = FileBillers(store, desk, data_dir)
    files.hand_out(day_of(store.now()))
    app = FastAPI(title="Sandbox billers", lifespan=_lifespan(store), docs_url=None, redoc_url=None)
    app.include_router(control.routes(store, desk, faults, files))

    @app.get("/livez")
    async def _livez() -> dict[str, str]:
        return {"status": "ok"}

    # A plain route, and the last one: a biller may have any path, and solving no parameters saves 60 µs a request.
    calls = Calls(store, desk, faults, secrets)
    app.router.routes.append(Route("/{biller}/{path:path}", calls.answer, methods=["POST"]))
    return WithTransport(app)


def _lifespan(store: Store) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    return lifespan
