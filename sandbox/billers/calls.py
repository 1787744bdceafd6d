"""One call of a biller, from the bytes of the request to an answer that is on disk, and the fault on the way."""

import asyncio
from collections.abc import Mapping

import starlette.requests
from starlette.responses import PlainTextResponse, Response

from sandbox.billers.desk import Asked, Desk, Reply
from sandbox.billers.faults import BEFORE, GARBAGE, OVERSIZE_BYTES, Fault, Faults, spoiled
from sandbox.billers.gbk_xml import GbkXml
from sandbox.billers.institutions import BY_ID
from sandbox.billers.store import Store
from sandbox.billers.wire import BadRequestError, Dialect, Form, Json, Request
from sandbox.connection import Cut, truncated
from sandbox.faults import LATE
from sandbox.late import have_late_effect

DIALECTS: dict[str, Dialect] = {"json": Json(), "form": Form(), "gbk-xml": GbkXml()}
# No honest question comes near it.
LARGEST_BODY_BYTES = 65_536


class Calls:
    """Answers the calls of all billers. `secrets` are shared with us, by biller."""

    def __init__(self, store: Store, desk: Desk, faults: Faults, secrets: Mapping[str, str]):
        self._store = store
        self._desk = desk
        self._faults = faults
        self._secrets = secrets

    async def answer(self, request: starlette.requests.Request) -> Response:
        """The response to one request."""
        biller = request.path_params["biller"]
        institution = BY_ID.get(biller)
        if institution is None or institution.settled_by == "file":
            return PlainTextResponse("no biller is called here\n", 404)
        dialect, secret = DIALECTS[institution.dialect], self._secrets[biller]
        try:
            body = await request.body()
            if len(body) > LARGEST_BODY_BYTES:
                raise BadRequestError(413, "too long")
            path = request.path_params["path"]
            asked = dialect.read(Request(biller, path, request.headers, body), secret)
        except BadRequestError as error:
            return PlainTextResponse(f"{error}\n", error.status)
        fault = self._faults.pick(biller, asked.operation)
        if fault and fault.kind in BEFORE:
            await self._store.durable()
            return _instead(fault, asked, dialect, secret)
        if fault and fault.kind == LATE:
            await self._store.durable()
            return self._late(asked, fault.seconds)
        if fault and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        content = self._content(asked, fault, dialect, secret)
        await self._store.durable()
        return _on_the_wire(content, fault, dialect)

    def _late(self, asked: Asked, seconds: float) -> Response:
        def effect() -> None:
            # Whatever is in its way by then, it meets as any other call would.
            if self._desk.answer(asked).status != "REFUSED":
                self._faults.count(f"{asked.biller}:{asked.operation}:{LATE}_done")

        return have_late_effect(self._store, seconds, effect)

    def _content(self, asked: Asked, fault: Fault | None, dialect: Dialect, secret: str) -> bytes:
        if asked.operation == "day_file":
            return dialect.day_file(self._desk.lines(asked.biller, asked.day))
        reply = self._desk.answer(asked)
        if fault and fault.kind == "wrong_echo":
            reply = spoiled(reply)
        return dialect.write(asked, reply, secret)


def _instead(fault: Fault, asked: Asked, dialect: Dialect, secret: str) -> Response:
    match fault.kind:
        case "refuse":
            reply = Reply("REFUSED", fault.code, asked.account_number, asked.serial)
            return Response(dialect.write(asked, reply, secret), 200, None, dialect.media_type)
        case "timeout_before":
            return Cut(seconds=fault.seconds)
        case "reset_before":
            return Cut()
        case "down":
            return PlainTextResponse("系统维护中\n", 503)
    return PlainTextResponse("系统异常\n", 500)


def _on_the_wire(content: bytes, fault: Fault | None, dialect: Dialect) -> Response:
    match fault.kind if fault else "":
        case "timeout_after":
            assert fault is not None
            return Cut(seconds=fault.seconds)
        case "reset_after":
            return Cut()
        case "truncate":
            return truncated(200, content)
        case "error_500_after":
            return PlainTextResponse("系统异常\n", 500)
        case "garbage":
            content = GARBAGE
        case "oversize":
            content = b" " * OVERSIZE_BYTES + content
    return Response(content, 200, None, dialect.media_type)
