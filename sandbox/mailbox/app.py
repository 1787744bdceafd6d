"""The mail box's HTTP side as one ASGI application; its SMTP side lives as long."""

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Response
from fastapi.responses import HTMLResponse

from sandbox.faults import BaseFaultAsked
from sandbox.mailbox import page
from sandbox.mailbox.faults import Fault, Faults, Kind
from sandbox.mailbox.read import as_json, parsed, part
from sandbox.mailbox.receive import Receiver, listen
from sandbox.mailbox.store import Store, Stored


class FaultAsked(BaseFaultAsked):
    """For any mail, or for those to `recipient`."""

    kind: Kind
    recipient: str | None = None


def create_app(state: Path, smtp: socket.socket) -> FastAPI:
    """The mail box that remembers in `state` and takes mails from the socket `smtp`."""
    store = Store(state)
    faults = Faults(store)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server = await listen(Receiver(store, faults), smtp)
        yield
        server.close()
        store.close()

    app = FastAPI(title="Sandbox mail box", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(_messages(store))
    app.include_router(_pages(store))
    app.include_router(_control(store, faults))
    return app


def _messages(store: Store) -> APIRouter:
    router = APIRouter(prefix="/messages")

    @router.get("")
    async def _list(
        to: str | None = None, limit: Annotated[int, Query(ge=0, le=10_000)] = 100
    ) -> dict[str, Any]:
        count, mails = store.newest(to, limit)
        return {"count": count, "messages": [as_json(each) for each in mails]}

    @router.delete("")
    async def _clear() -> dict[str, int]:
        deleted = store.clear()
        await store.durable()
        return {"deleted": deleted}

    return router


def _pages(store: Store) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    async def _list() -> HTMLResponse:
        count, mails = store.newest(None, 200)
        body = page.list_page(count, [as_json(each) for each in mails])
        return HTMLResponse(body, headers=page.HEADERS)

    @router.get("/mails/{number}")
    async def _mail(number: int) -> HTMLResponse:
        return HTMLResponse(page.mail_page(as_json(_found(store, number))), headers=page.HEADERS)

    @router.get("/mails/{number}/html")
    async def _html(number: int) -> HTMLResponse:
        body = part(parsed(_found(store, number)), "html")
        return HTMLResponse(body or "", headers=page.MAIL_HEADERS)

    @router.get("/mails/{number}/raw")
    async def _raw(number: int) -> Response:
        raw = _found(store, number).raw
        return Response(raw, media_type="text/plain", headers=page.MAIL_HEADERS)

    return router


def _control(store: Store, faults: Faults) -> APIRouter:
    router = APIRouter()

    @router.get("/sandbox/faults")
    async def _faults() -> dict[str, Any]:
        return faults.report()

    @router.post("/sandbox/faults", status_code=201)
    async def _add(asked: FaultAsked) -> dict[str, Any]:
        faults.add(Fault(**asked.fields()))
        await store.durable()
        return faults.report()

    @router.delete("/sandbox/faults")
    async def _clear() -> dict[str, Any]:
        faults.clear()
        await store.durable()
        return faults.report()

    @router.get("/livez")
    async def _livez() -> dict[str, str]:
        return {"status": "ok"}

    return router


def _found(store: Store, number: int) -> Stored:
    mail = store.find(number)
    if mail is None:
        raise HTTPException(404, "There is no mail of this number.")
    return mail
