"""The strings to pull: `/sandbox/…`. No key is asked for; the PSP listens on the loopback address."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field, model_validator

from sandbox.faults import LATE, BaseFaultAsked
from sandbox.psp import balance, book, refunds
from sandbox.psp.faults import KINDS, MOVES, OPERATIONS, Fault, Faults
from sandbox.psp.provider import Provider
from sandbox.psp.webhooks import Webhooks, WebhookSettings


class _Asked(BaseModel):
    model_config = ConfigDict(extra="forbid")


class FaultAsked(BaseFaultAsked):
    """At an operation; "*" is any."""

    operation: Literal[(*OPERATIONS, "*")]  # type: ignore[valid-type]
    kind: Literal[KINDS]  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _has_an_effect(self) -> "FaultAsked":
        if self.kind == LATE and self.operation not in {*MOVES, "*"}:
            raise ValueError(f"{self.operation} has no effect that could be late")
        return self


class ClockAsked(_Asked):
    """How far to put the PSP's clock forward."""

    advance_seconds: int = Field(ge=0)


class RefundAsked(_Asked):
    """How a refund ends. `event` tells of a failure; Stripe has used each of these."""

    status: Literal["succeeded", "failed"]
    event: Literal[refunds.FAILED_EVENTS] = "refund.failed"  # type: ignore[valid-type]


class SearchAsked(_Asked):
    """How old a payment must be to be found."""

    lag_seconds: int = Field(ge=0)


class PayoutAsked(_Asked):
    """Which currency to pay out."""

    currency: str = "cny"


class ResendAsked(_Asked):
    """Which event to send again."""

    event_id: str


def routes(provider: Provider, faults: Faults, webhooks: Webhooks) -> APIRouter:
    """All of them."""
    router = APIRouter(prefix="/sandbox")
    store = provider.store

    @router.get("/book")
    async def _book() -> dict[str, Any]:
        await store.durable()
        return book.book(store)

    @router.get("/faults")
    async def _faults() -> dict[str, Any]:
        return faults.report()

    @router.post("/faults", status_code=201)
    async def _add_fault(asked: FaultAsked) -> dict[str, Any]:
        faults.add(Fault(**asked.fields()))
        await store.durable()
        return faults.report()

    @router.delete("/faults")
    async def _clear_faults() -> dict[str, Any]:
        faults.clear()
        await store.durable()
        return faults.report()

    _time_and_money_routes(router, provider)
    _webhook_routes(router, webhooks, provider)
    return router


def _time_and_money_routes(router: APIRouter, provider: Provider) -> None:
    store = provider.store

    @router.post("/clock")
    async def _clock(asked: ClockAsked) -> dict[str, int]:
        now = store.advance_clock(asked.advance_seconds)
        await store.durable()
        return {"now": now}

    @router.post("/search")
    async def _search(asked: SearchAsked) -> dict[str, int]:
        provider.set_search_lag(asked.lag_seconds)
        await store.durable()
        return {"lag_seconds": asked.lag_seconds}

    @router.post("/refunds/{refund_id}")
    async def _settle(refund_id: str, asked: RefundAsked) -> dict[str, Any]:
        with store.undone_on_error():
            failed_event = None if asked.status == "succeeded" else asked.event
            refund = refunds.settle(provider, refund_id, failed_event)
        await store.durable()
        return refund

    @router.post("/payouts")
    async def _sweep(asked: PayoutAsked) -> dict[str, Any] | None:
        with store.undone_on_error():
            payout = balance.sweep(provider, asked.currency)
        await store.durable()
        return payout


def _webhook_routes(router: APIRouter, webhooks: Webhooks, provider: Provider) -> None:
    @router.get("/webhooks")
    async def _webhooks() -> dict[str, Any]:
        return webhooks.report()

    @router.post("/webhooks")
    async def _configure(asked: WebhookSettings) -> dict[str, Any]:
        webhooks.configure(asked)
        await provider.store.durable()
        return webhooks.report()

    @router.post("/webhooks/deliver")
    async def _deliver() -> dict[str, int]:
        return {"tried": await webhooks.run_once(everything=True)}

    @router.post("/webhooks/resend")
    async def _resend(asked: ResendAsked) -> dict[str, Any]:
        webhooks.resend(asked.event_id)
        await provider.store.durable()
        return webhooks.report()
