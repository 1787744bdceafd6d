"""Controls of the sandbox: `/sandbox/…`. No key is needed; the PSP listens on the loopback address."""

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import Field

from sandbox.psp.money import balance, psp_book, psp_refunds
from sandbox.psp.provider import Provider
from sandbox.psp.psp_faults import KINDS, MOVES, OPERATIONS, PspFaults
from sandbox.psp.webhook_sender import Webhooks, WebhookSettings
from sandbox.stand_in.control import ControlRequest, add_clock_route, add_fault_routes
from sandbox.stand_in.fault_list import OperationFaultRequest


class PspFaultRequest(OperationFaultRequest):
    """A fault at an operation of the PSP."""

    moves = MOVES
    operation: Literal[(*OPERATIONS, "*")]  # type: ignore[valid-type]
    kind: Literal[KINDS]  # type: ignore[valid-type]


class RefundOutcomeRequest(ControlRequest):
    """The end of a refund. `event` is the type of the event about a failure; Stripe has used each of these."""

    status: Literal["succeeded", "failed"]
    event: Literal[psp_refunds.FAILED_EVENTS] = "refund.failed"  # type: ignore[valid-type]


class SearchLagRequest(ControlRequest):
    """The age from which the search finds a payment."""

    lag_seconds: int = Field(ge=0)


class PayoutRequest(ControlRequest):
    """Which currency to pay out."""

    currency: str = "cny"


class ResendRequest(ControlRequest):
    """Which event to send again."""

    event_id: str


def routes(provider: Provider, faults: PspFaults, webhooks: Webhooks) -> APIRouter:
    """All of them."""
    router = APIRouter(prefix="/sandbox")
    store = provider.store

    @router.get("/book")
    async def _book() -> dict[str, Any]:
        await store.durable()
        return psp_book.book(store)

    add_fault_routes(router, store, faults, PspFaultRequest)
    add_clock_route(router, store, lambda now: now)
    _money_routes(router, provider)
    _webhook_routes(router, webhooks, provider)
    return router


def _money_routes(router: APIRouter, provider: Provider) -> None:
    store = provider.store

    @router.post("/search")
    async def _search(request: SearchLagRequest) -> dict[str, int]:
        provider.set_search_lag(request.lag_seconds)
        await store.durable()
        return {"lag_seconds": request.lag_seconds}

    @router.post("/refunds/{refund_id}")
    async def _settle(refund_id: str, request: RefundOutcomeRequest) -> dict[str, Any]:
        with store.undone_on_error():
            failed_event = None if request.status == "succeeded" else request.event
            refund = psp_refunds.settle(provider, refund_id, failed_event)
        await store.durable()
        return refund

    @router.post("/payouts")
    async def _sweep(request: PayoutRequest) -> dict[str, Any] | None:
        with store.undone_on_error():
            payout = balance.sweep(provider, request.currency)
        await store.durable()
        return payout


def _webhook_routes(router: APIRouter, webhooks: Webhooks, provider: Provider) -> None:
    @router.get("/webhooks")
    async def _webhooks() -> dict[str, Any]:
        return webhooks.report()

    @router.post("/webhooks")
    async def _configure(request: WebhookSettings) -> dict[str, Any]:
        webhooks.configure(request)
        await provider.store.durable()
        return webhooks.report()

    @router.post("/webhooks/deliver")
    async def _deliver() -> dict[str, int]:
        return {"tried": await webhooks.run_once(everything=True)}

    @router.post("/webhooks/resend")
    async def _resend(request: ResendRequest) -> dict[str, Any]:
        webhooks.resend(request.event_id)
        await provider.store.durable()
        return webhooks.report()
