"""Controls of the sandbox: `/sandbox/…`. No key is needed; the billers listen on the loopback address."""

from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import Field, field_validator

from sandbox.billers.biller_book import BillerBook
from sandbox.billers.biller_faults import KINDS, MOVES, BillerFault, BillerFaults
from sandbox.billers.biller_list import BY_ID, SandboxBiller
from sandbox.billers.biller_store import BillerStore
from sandbox.billers.dialects import OPERATIONS
from sandbox.billers.files import FileBillers
from sandbox.billers.fresh_accounts import INSERT_BILL, terms
from sandbox.china_time import iso
from sandbox.stand_in.control import ControlRequest, add_clock_route, add_fault_routes
from sandbox.stand_in.fault_list import OperationFaultRequest

_ACCOUNTS = """
    SELECT account_number FROM (
        SELECT a.account_number, a.position, EXISTS (
            SELECT 1 FROM bills b WHERE b.biller = a.biller AND b.account_number = a.account_number
                AND b.paid_by IS NULL AND b.expires_at > ?) AS owing
        FROM accounts a WHERE a.biller = ?)
    WHERE owing = coalesce(?, owing) ORDER BY position LIMIT ?
"""


class BillerFaultRequest(OperationFaultRequest):
    """A fault of a biller at an operation; "*" is any. `code` is a refusal's."""

    moves = MOVES
    biller: str = "*"
    operation: Literal[(*OPERATIONS, "*")] = "*"  # type: ignore[valid-type]
    kind: Literal[KINDS]  # type: ignore[valid-type]
    code: str = Field("sandbox_refused", pattern="^[a-z0-9_]{1,64}$")

    @field_validator("biller")
    @classmethod
    def _known(cls, biller: str) -> str:
        if biller not in {"*", *BY_ID}:
            raise ValueError("there is no such biller")
        return biller


class BillRequest(ControlRequest):
    """A new bill for an account; its terms follow the biller's rule. Negative `expires_in_seconds` is expired."""

    biller: str
    account_number: str
    amount_minor: int = Field(gt=0)
    period: str = "2026-01"
    expires_in_seconds: int = 30 * 86_400


def routes(
    store: BillerStore, book: BillerBook, faults: BillerFaults, files: FileBillers
) -> APIRouter:
    """All of them."""
    router = APIRouter(prefix="/sandbox")

    @router.get("/book")
    async def _book(biller: str | None = None) -> list[dict[str, Any]]:
        await store.durable()
        return [{**asdict(line), "at": iso(line.at)} for line in book.lines(biller)]

    @router.get("/accounts")
    async def _accounts(
        biller: str, limit: int = Query(100, ge=1), owing: bool | None = None
    ) -> list[str]:
        _institution(biller)
        return [row[0] for row in store.query(_ACCOUNTS, store.now(), biller, owing, limit)]

    @router.post("/bills", status_code=201)
    async def _issue(request: BillRequest) -> dict[str, Any]:
        issued = _bill(store, request)
        await store.durable()
        return issued

    @router.post("/file-billers/answer")
    async def _answer(day: str = Query(pattern="^[0-9]{8}$")) -> dict[str, Any]:
        return files.answer(day)

    add_fault_routes(router, store, faults, BillerFaultRequest, _of_biller)
    add_clock_route(router, store, iso)
    return router


def _of_biller(biller: str | None = None) -> Callable[[BillerFault], bool]:
    """The faults of this biller, or of all of them."""
    return lambda each: biller in {None, each.biller}


def _bill(store: BillerStore, request: BillRequest) -> dict[str, Any]:
    institution = _institution(request.biller)
    known = store.query(
        "SELECT 1 FROM accounts WHERE biller = ? AND account_number = ?",
        request.biller,
        request.account_number,
    )
    if not known:
        raise HTTPException(404, "the biller has no such account")
    (count,) = store.query("SELECT count(*) FROM bills WHERE biller = ?", request.biller)[0]
    bill_number = f"{request.biller.upper()}-X{count + 1:06d}"
    expires_at = store.now() + request.expires_in_seconds
    rest = (*terms(institution, request.amount_minor), None, expires_at)
    store.execute(
        INSERT_BILL,
        *(request.biller, bill_number, request.account_number, request.period),
        *(request.amount_minor, institution.rule, *rest),
    )
    return {**request.model_dump(), "bill_number": bill_number, "expires_at": iso(expires_at)}


def _institution(biller: str) -> SandboxBiller:
    if biller not in BY_ID:
        raise HTTPException(404, "there is no such biller")
    return BY_ID[biller]
