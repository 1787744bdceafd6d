"""The mail box's HTTP side as one ASGI application; its SMTP side lives as long."""

import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Response
from fastapi.responses import HTMLResponse

from sandbox.mailbox.mail_faults import Kind, MailFaults
from sandbox.mailbox.mail_message import as_json, parsed, part
from sandbox.mailbox.mail_page import HEADERS, MAIL_HEADERS, list_page, mail_page
from sandbox.mailbox.mail_receiver import MailReceiver, listen
from sandbox.mailbox.mail_store import MailStore, StoredMail
from sandbox.stand_in.control import add_fault_routes
from sandbox.stand_in.fault_list import FaultRequest
from sandbox.stand_in.serve import liveness


class MailFaultRequest(FaultRequest):
    """For any mail, or for those to `recipient`."""

    kind: Kind
    recipient: str | None = None


def create_app(state: Path, smtp: socket.socket) -> FastAPI:
    """The mail box that remembers in `state` and takes mails from the socket `smtp`."""
    store = MailStore(state)
    faults = MailFaults(store)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        server = await listen(MailReceiver(store, faults), smtp)
        yield
        server.close()
        store.close()

    app = FastAPI(title="Sandbox mail box", lifespan=lifespan, docs_url=None, redoc_url=None)
    app.include_router(_messages(store))
    app.include_router(_pages(store))
    control = APIRouter(prefix="/sandbox")
    add_fault_routes(control, store, faults, MailFaultRequest)
    app.include_router(control)
    app.include_router(liveness)
    return app


def _messages(store: MailStore) -> APIRouter:
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


def _pages(store: MailStore) -> APIRouter:
    router = APIRouter()

    @router.get("/")
    async def _list() -> HTMLResponse:
        count, mails = store.newest(None, 200)
        body = list_page(count, [as_json(each) for each in mails])
        return HTMLResponse(body, headers=HEADERS)

    @router.get("/mails/{number}")
    async def _mail(number: int) -> HTMLResponse:
        return HTMLResponse(mail_page(as_json(_found(store, number))), headers=HEADERS)

    @router.get("/mails/{number}/html")
    async def _html(number: int) -> HTMLResponse:
        body = part(parsed(_found(store, number)), "html")
        return HTMLResponse(body or "", headers=MAIL_HEADERS)

    @router.get("/mails/{number}/raw")
    async def _raw(number: int) -> Response:
        raw = _found(store, number).raw
        return Response(raw, media_type="text/plain", headers=MAIL_HEADERS)

    return router


def _found(store: MailStore, number: int) -> StoredMail:
    mail = store.find(number)
    if mail is None:
        raise HTTPException(404, "There is no mail of this number.")
    return mail
