"""One call of a biller, from the bytes of the request to an answer that is on disk, and the fault on the way."""

import asyncio
from collections.abc import Mapping

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from sandbox.billers.biller_book import BillerBook, BillerReply, BillerRequest
from sandbox.billers.biller_faults import (
    BEFORE,
    GARBAGE,
    OVERSIZE_BYTES,
    BillerFault,
    BillerFaults,
    spoiled,
)
from sandbox.billers.biller_list import BY_ID
from sandbox.billers.biller_store import BillerStore
from sandbox.billers.dialects import (
    BadRequestError,
    BillerDialect,
    FormDialect,
    HttpRequest,
    JsonDialect,
)
from sandbox.billers.gbk_xml_dialect import GbkXmlDialect
from sandbox.stand_in.connection import Cut, truncated
from sandbox.stand_in.fault_list import LATE
from sandbox.stand_in.late_effect import have_late_effect
from sandbox.stand_in.serve import LARGEST_BODY_BYTES

DIALECTS: dict[str, BillerDialect] = {
    "json": JsonDialect(),
    "form": FormDialect(),
    "gbk-xml": GbkXmlDialect(),
}


class BillerCalls:
    """Answers the calls of all billers. `secrets` are shared with us, by biller."""

    def __init__(
        self, store: BillerStore, book: BillerBook, faults: BillerFaults, secrets: Mapping[str, str]
    ):
        self._store = store
        self._book = book
        self._faults = faults
        self._secrets = secrets

    async def answer(self, http: Request) -> Response:
        """The response to one request."""
        biller = http.path_params["biller"]
        institution = BY_ID.get(biller)
        if institution is None or institution.settled_by == "file":
            return PlainTextResponse("no biller is called here\n", 404)
        dialect, secret = DIALECTS[institution.dialect], self._secrets[biller]
        try:
            body = await http.body()
            if len(body) > LARGEST_BODY_BYTES:
                raise BadRequestError(413, "too long")
            path = http.path_params["path"]
            request = dialect.read(HttpRequest(biller, path, http.headers, body), secret)
        except BadRequestError as error:
            return PlainTextResponse(f"{error}\n", error.status)
        fault = self._faults.pick(biller, request.operation)
        if fault and fault.kind in BEFORE:
            await self._store.durable()
            return _instead(fault, request, dialect, secret)
        if fault and fault.kind == LATE:
            await self._store.durable()
            return self._late(request, fault.seconds)
        if fault and fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        content = self._content(request, fault, dialect, secret)
        await self._store.durable()
        return _on_the_wire(content, fault, dialect)

    def _late(self, request: BillerRequest, seconds: float) -> Response:
        def effect() -> None:
            # Whatever is in its way by then, it meets as any other call would.
            if self._book.answer(request).status != "REFUSED":
                self._faults.count(f"{request.biller}:{request.operation}:{LATE}_done")

        return have_late_effect(self._store, seconds, effect)

    def _content(
        self, request: BillerRequest, fault: BillerFault | None, dialect: BillerDialect, secret: str
    ) -> bytes:
        if request.operation == "day_file":
            return dialect.day_file(self._book.lines(request.biller, request.day))
        reply = self._book.answer(request)
        if fault and fault.kind == "wrong_echo":
            reply = spoiled(reply)
        return dialect.write(request, reply, secret)


def _instead(
    fault: BillerFault, request: BillerRequest, dialect: BillerDialect, secret: str
) -> Response:
    match fault.kind:
        case "refuse":
            reply = BillerReply("REFUSED", fault.code, request.account_number, request.serial)
            return Response(dialect.write(request, reply, secret), 200, None, dialect.media_type)
        case "timeout_before":
            return Cut(seconds=fault.seconds)
        case "reset_before":
            return Cut()
        case "down":
            return PlainTextResponse("系统维护中\n", 503)
    return PlainTextResponse("系统异常\n", 500)


def _on_the_wire(content: bytes, fault: BillerFault | None, dialect: BillerDialect) -> Response:
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
