"""The strings to pull: `/sandbox/…`. No key is asked for; the billers listen on the loopback address."""

from dataclasses import asdict
from typing import Any, Literal

from fastapi import APIRouter, HTTPException, Query
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from sandbox.billers.city import INSERT_BILL, terms
from sandbox.billers.desk import Desk
from sandbox.billers.faults import KINDS, MOVES, Fault, Faults
from sandbox.billers.files import FileBillers
from sandbox.billers.institutions import BY_ID, Institution
from sandbox.billers.store import Store, iso
from sandbox.billers.wire import OPERATIONS
from sandbox.faults import LATE, BaseFaultAsked

_ACCOUNTS = """
    SELECT account_number FROM (
        SELECT a.account_number, a.position, EXISTS (
            SELECT 1 FROM bills b WHERE b.biller = a.biller AND b.account_number = a.account_number
                AND b.paid_by IS NULL AND b.expires_at > ?) AS owing
        FROM accounts a WHERE a.biller = ?)
    WHERE owing = coalesce(?, owing) ORDER BY position LIMIT ?
"""


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FaultAsked(BaseFaultAsked):
    """Of a biller at an operation; "*" is any. `code` is a refusal's."""

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

    @model_validator(mode="after")
    def _has_an_effect(self) -> "FaultAsked":
        if self.kind == LATE and self.operation not in {*MOVES, "*"}:
            raise ValueError(f"{self.operation} has no effect that could be late")
        return self


class BillAsked(_Asked):
    """A new bill for an account; its terms follow the biller's rule. Negative `expires_in_seconds` is expired."""

    biller: str
    account_number: str
    amount_minor: int = Field(gt=0)
    period: str = "2026-01"
    expires_in_seconds: int = 30 * 86_400


class ClockAsked(_Asked):
    """How far to put the billers' clock forward."""

    advance_seconds: int = Field(ge=0)


def routes(store: Store, desk: Desk, faults: Faults, files: FileBillers) -> APIRouter:
    """All of them."""
    router = APIRouter(prefix="/sandbox")

    @router.get("/book")
    async def _book(biller: str | None = None) -> list[dict[str, Any]]:
        await store.durable()
        return [{**asdict(line), "at": iso(line.at)} for line in desk.lines(biller)]

    @router.get("/accounts")
    async def _accounts(
        biller: str, limit: int = Query(100, ge=1), owing: bool | None = None
    ) -> list[str]:
        _institution(biller)
        return [row[0] for row in store.query(_ACCOUNTS, store.now(), biller, owing, limit)]

    @router.post("/bills", status_code=201)
    async def _issue(asked: BillAsked) -> dict[str, Any]:
        issued = _bill(store, asked)
        await store.durable()
        return issued

    @router.post("/clock")
    async def _clock(asked: ClockAsked) -> dict[str, str]:
        now = store.advance_clock(asked.advance_seconds)
        await store.durable()
        return {"now": iso(now)}

    @router.post("/file-billers/answer")
    async def _answer(day: str = Query(pattern="^[0-9]{8}$")) -> dict[str, Any]:
        return files.answer(day)

    _fault_routes(router, store, faults)
    return router


def _fault_routes(router: APIRouter, store: Store, faults: Faults) -> None:
    @router.get("/faults")
    async def _faults() -> dict[str, Any]:
        return faults.report()

    @router.post("/faults", status_code=201)
    async def _add(asked: FaultAsked) -> dict[str, Any]:
        faults.add(Fault(**asked.fields()))
        await store.durable()
        return faults.report()

    @router.delete("/faults")
    async def _clear(biller: str | None = None) -> dict[str, Any]:
        faults.clear_of(biller)
        await store.durable()
        return faults.report()


def _bill(store: Store, asked: BillAsked) -> dict[str, Any]:
    institution = _institution(asked.biller)
    known = store.query(
        "SELECT 1 FROM accounts WHERE biller = ? AND account_number = ?",
        asked.biller,
        asked.account_number,
    )
    if not known:
        raise HTTPException(404, "the biller has no such account")
    (count,) = store.query("SELECT count(*) FROM bills WHERE biller = ?", asked.biller)[0]
    bill_number = f"{asked.biller.upper()}-X{count + 1:06d}"
    expires_at = store.now() + asked.expires_in_seconds
    rest = (*terms(institution, asked.amount_minor), None, expires_at)
    store.execute(
        INSERT_BILL,
        *(asked.biller, bill_number, asked.account_number, asked.period),
        *(asked.amount_minor, institution.rule, *rest),
    )
    return {**asked.model_dump(), "bill_number": bill_number, "expires_at": iso(expires_at)}


def _institution(biller: str) -> Institution:
    if biller not in BY_ID:
        raise HTTPException(404, "there is no such biller")
    return BY_ID[biller]
