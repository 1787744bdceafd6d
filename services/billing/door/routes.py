"""HTTP in: payments, refunds, top-ups and the wallet's balance.

A POST writes a promise and answers 202 with the URL to follow. It needs an Idempotency-Key; the same key with another
body is an error. Another channel's payment does not exist.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, FastAPI, Query, Request, Response
from pydantic import BaseModel, Field

from chassis.http import express
from chassis.http.route import correlation_of, engine_of
from events.ids import uuid7
from events.money import AmountMinor, Currency
from events.payments import Funding, PayBill, Payer, Reason, RefundPayment, TopUpWallet
from services.billing.channels import Channel, authenticate, idempotency_key, key_use
from services.billing.door import follow
from services.billing.door.follow import Balance, PaymentView, RefundView, TopUpView
from services.billing.door.gathering import Door, DoorRequest
from services.billing.door.objections import not_found
from services.billing.door.promise import Command
from services.billing.paging import Page, decode_cursor, encode_cursor


@asynccontextmanager
async def _open_door(app: FastAPI) -> AsyncIterator[None]:
    app.state.door = Door(app.state.engine, app.state.door_key)
    yield
    await app.state.door.drain()


router = APIRouter(prefix="/v1", tags=["Payments"], lifespan=_open_door)
Caller = Annotated[Channel, Depends(authenticate)]
Key = Annotated[str, Depends(idempotency_key)]


class NewPayment(BaseModel):
    """Pay a bill. The amount is the one that the payer has seen; the bill's rule decides whether it is accepted."""

    bill_id: UUID
    payer: Payer
    amount_minor: AmountMinor
    currency: Currency
    funding: Funding


class NewRefund(BaseModel):
    """Give back all that is left, or a part."""

    amount_minor: AmountMinor | None = None
    reason: Reason = "requested"


class NewTopUp(BaseModel):
    """Charge the payer's means of payment and add it to the payer's wallet."""

    payer: Payer
    amount_minor: AmountMinor
    currency: Currency
    payment_method: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,64}$")]


class Promised(BaseModel):
    """The id of the promised payment, refund or top-up, and the URL to follow it."""

    id: UUID
    status: str = "processing"
    url: str


@express.post(router, "/payments", status_code=202, response_model=Promised)
async def pay(body: NewPayment, http: Request, channel: Caller, key: Key) -> Response:
    """Pay a bill."""
    command = PayBill(payment_id=uuid7(), channel=channel.id, **body.__dict__)
    return await _promise(http, key, command, command.payment_id, "/v1/payments")


@router.get("/payments/{payment_id}")
async def get_payment(payment_id: UUID, http: Request, channel: Caller) -> PaymentView:
    """One payment."""
    async with engine_of(http).connect() as connection:
        found = await follow.payment(connection, channel.id, payment_id)
    if found is None:
        raise not_found("payment")
    return found


@router.get("/payments")
async def list_payments(
    http: Request,
    channel: Caller,
    payer: Annotated[Payer | None, Query()] = None,
    cursor: str | None = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> Page[PaymentView]:
    """The channel's payments, newest first."""
    before: tuple[datetime, UUID] | None = decode_cursor(cursor) if cursor else None
    async with engine_of(http).connect() as connection:
        found = await follow.payments(connection, channel.id, payer, before, limit + 1)
    page, more = found[:limit], len(found) > limit
    following = encode_cursor(page[-1].created_at, page[-1].id) if more else None
    return Page(items=page, next_cursor=following)


@router.post("/payments/{payment_id}/refunds", status_code=202, response_model=Promised)
async def refund(
    payment_id: UUID, body: NewRefund, http: Request, channel: Caller, key: Key
) -> Response:
    """Refund a payment. A payment that is still processing can be refunded, too: the refund waits for its result."""
    command = RefundPayment(
        refund_id=uuid7(),
        payment_id=payment_id,
        channel=channel.id,
        amount_minor=body.amount_minor,
        reason=body.reason,
    )
    return await _promise(http, key, command, command.refund_id, "/v1/refunds")


@router.get("/refunds/{refund_id}")
async def get_refund(refund_id: UUID, http: Request, channel: Caller) -> RefundView:
    """One refund."""
    async with engine_of(http).connect() as connection:
        found = await follow.refund(connection, channel.id, refund_id)
    if found is None:
        raise not_found("refund")
    return found


@express.post(router, "/top-ups", status_code=202, response_model=Promised)
async def top_up(body: NewTopUp, http: Request, channel: Caller, key: Key) -> Response:
    """Top up a wallet through the PSP."""
    command = TopUpWallet(top_up_id=uuid7(), channel=channel.id, **body.__dict__)
    return await _promise(http, key, command, command.top_up_id, "/v1/top-ups")


@router.get("/top-ups/{top_up_id}")
async def get_top_up(top_up_id: UUID, http: Request, channel: Caller) -> TopUpView:
    """One top-up."""
    async with engine_of(http).connect() as connection:
        found = await follow.top_up(connection, channel.id, top_up_id)
    if found is None:
        raise not_found("top-up")
    return found


@router.get("/wallets/{payer}")
async def get_wallet(payer: Payer, http: Request, channel: Caller) -> list[Balance]:
    """Return the balances of a payer's wallet, one per currency."""
    async with engine_of(http).connect() as connection:
        return await follow.wallet(connection, channel.id, payer)


async def _promise(http: Request, key: str, command: Command, id: UUID, place: str) -> Response:
    # A key stands for this body at this address: the same body at another address is another request.
    content = f"{http.scope['path']}\n".encode() + await http.body()
    use = key_use(command.channel, key, content, id)
    door: Door = http.app.state.door
    claim = await door.promise(DoorRequest(use, command, correlation_of(http)))
    url = f"{place}/{claim.resource_id}"
    headers = {"Location": url}
    if claim.replayed:
        headers["Idempotency-Replayed"] = "true"
    body = Promised(id=claim.resource_id, url=url).model_dump_json()
    return Response(body, 202, headers, "application/json")
