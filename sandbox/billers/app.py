"""All billers as one ASGI application."""

import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

from fastapi import FastAPI
from starlette.routing import Route

from sandbox.billers import control
from sandbox.billers.biller_book import BillerBook
from sandbox.billers.biller_calls import BillerCalls
from sandbox.billers.biller_faults import BillerFaults
from sandbox.billers.biller_store import BillerStore
from sandbox.billers.files import FileBillers
from sandbox.billers.fresh_accounts import make_accounts
from sandbox.china_time import day_of
from sandbox.stand_in.connection import WithTransport
from sandbox.stand_in.serve import liveness


def create_app(
    state: Path,
    data_dir: Path,
    secrets: Mapping[str, str],
    *,
    seed: int,
    accounts_per_biller: int,
) -> WithTransport:
    """The billers that remember in `state`; raises OtherSeedError when that was made from another seed."""
    store = BillerStore(state)
    make_accounts(store, seed, accounts_per_biller)
    book = BillerBook(store)
    faults = BillerFaults(store, seed)
    files = FileBillers(store, book, data_dir)
    files.hand_out(day_of(store.now()))
    app = FastAPI(title="Sandbox billers", lifespan=_lifespan(store), docs_url=None, redoc_url=None)
    app.include_router(control.routes(store, book, faults, files))
    app.include_router(liveness)
    # A plain route, and the last one: a biller may have any path, and solving no parameters saves 60 µs a request.
    calls = BillerCalls(store, book, faults, secrets)
    app.router.routes.append(Route("/{biller}/{path:path}", calls.answer, methods=["POST"]))
    return WithTransport(app)


def _lifespan(
    store: BillerStore,
) -> Callable[[FastAPI], contextlib.AbstractAsyncContextManager[None]]:
    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        store.close()

    return lifespan
