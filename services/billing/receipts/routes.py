"""HTTP in: the public page that verifies a receipt, and a channel's access to its receipts.

A typing error in the number is found by its check character, without the database. The public page shows no more than
the printed receipt: no channel, no payer, no bill number, and only the end of the account number.
"""

from datetime import UTC, datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse
from pydantic import BaseModel, Field

from chassis.http.problems import NOT_FOUND, Problem, ProblemType
from chassis.http.route import engine_of
from services.billing.channels import Channel, authenticate
from services.billing.docs_pages.problem_types import (
    RECEIPT_NUMBER_MALFORMED,
    RECEIPT_NUMBER_MISTYPED,
    RECEIPT_UNKNOWN,
)
from services.billing.receipts import page, verify
from services.billing.receipts.negotiate import language_of, wants_json
from services.billing.receipts.number import Typo, grouped, read
from services.billing.receipts.page import Language, Unverified
from services.billing.receipts.verify import Receipt, State

router = APIRouter(tags=["Receipts"])
Caller = Annotated[Channel, Depends(authenticate)]
Lang = Annotated[str | None, Query(description="`zh-CN` or `en`; else what the browser prefers")]

PROBLEMS: dict[Unverified, ProblemType] = {
    Typo.SHAPE: RECEIPT_NUMBER_MALFORMED,
    Typo.CHECK: RECEIPT_NUMBER_MISTYPED,
    "unknown": RECEIPT_UNKNOWN,
}


class VerifiedReceipt(BaseModel):
    """A receipt for anyone who has its number. Amounts are minor units of `currency`."""

    number: str = Field(description="in groups, as it is printed")
    state: State
    biller_id: str
    biller_name_zh: str
    biller_name_en: str
    account_ending: str
    period: str
    amount_minor: int
    refunded_minor: int
    currency: str
    paid_at: datetime
    voided_at: datetime | None

    @classmethod
    def of(cls, receipt: Receipt) -> Self:
        return cls.model_validate(_facts(receipt))


class ReceiptView(VerifiedReceipt):
    """A receipt for its channel."""

    payment_id: UUID
    bill_number: str
    verify_url: str


@router.get("/r", response_class=HTMLResponse, summary="Form to verify a receipt")
async def verify_form(http: Request, number: str = "", lang: Lang = None) -> Response:
    """Show a form for a receipt number; with a number, redirect to its page."""
    language = language_of(http, lang)
    if not number.strip():
        return _html(200, page.unverified_page("empty", "", language), language)
    found = read(number)
    if isinstance(found, Typo):
        return _html(404, page.unverified_page(found, number[:64], language), language)
    return RedirectResponse(f"/r/{grouped(found)}?lang={language}", 303, headers=page.HEADERS)


@router.get(
    "/r/{number}",
    summary="Verify a receipt",
    response_model=VerifiedReceipt,
    responses={200: {"content": {"text/html": {}}}, 404: {"description": "mistyped or unknown"}},
)
async def verify_receipt(number: str, http: Request, lang: Lang = None) -> Response:
    """Verify a receipt: is it genuine, and is it still valid? A page, or JSON for `Accept: application/json`."""
    language, json = language_of(http, lang), wants_json(http)
    found = read(number)
    why: Unverified = found if isinstance(found, Typo) else "unknown"
    receipt = None if isinstance(found, Typo) else await _find(http, found)
    if receipt is None:
        if json:
            raise _not_verified(why)
        return _html(404, page.unverified_page(why, number[:64], language), language)
    if json:
        return Response(
            VerifiedReceipt.of(receipt).model_dump_json(),
            media_type="application/json",
            headers=page.HEADERS,
        )
    shown = page.receipt_page(receipt, language, _url(http, receipt), datetime.now(UTC))
    return _html(200, shown, language)


@router.get("/v1/receipts/{number}")
async def get_receipt(number: str, http: Request, channel: Caller) -> ReceiptView:
    """Return one of the channel's receipts."""
    found = read(number)
    if isinstance(found, Typo):
        raise _not_verified(found)
    return _view(http, await _find(http, found), channel)


@router.get("/v1/payments/{payment_id}/receipt")
async def get_payment_receipt(payment_id: UUID, http: Request, channel: Caller) -> ReceiptView:
    """Return the receipt of one of the channel's payments."""
    async with engine_of(http).connect() as connection:
        receipt = await verify.find_of_payment(connection, payment_id, channel.id)
    return _view(http, receipt, channel)


async def _find(http: Request, number: str) -> Receipt | None:
    async with engine_of(http).connect() as connection:
        return await verify.find(connection, number)


def _view(http: Request, receipt: Receipt | None, channel: Channel) -> ReceiptView:
    if receipt is None or receipt.channel_id != channel.id:
        detail = "This channel has no such receipt. A payment has one once it has succeeded."
        raise Problem(NOT_FOUND, detail)
    return ReceiptView.model_validate(
        {
            **_facts(receipt),
            "payment_id": receipt.payment_id,
            "bill_number": receipt.bill_number,
            "verify_url": _url(http, receipt),
        }
    )


def _facts(receipt: Receipt) -> dict[str, object]:
    return {
        "number": grouped(receipt.number),
        "state": receipt.state,
        "biller_id": receipt.biller_id,
        "biller_name_zh": receipt.biller_zh,
        "biller_name_en": receipt.biller_en,
        "account_ending": receipt.account_ending,
        "period": receipt.period,
        "amount_minor": receipt.amount_minor,
        "refunded_minor": receipt.refunded_minor,
        "currency": receipt.currency,
        "paid_at": receipt.issued_at,
        "voided_at": receipt.voided_at,
    }


def _not_verified(why: Unverified) -> Problem:
    return Problem(PROBLEMS[why], check_character_fits=why == "unknown")


def _html(status: int, body: str, language: Language) -> HTMLResponse:
    return HTMLResponse(body, status, headers={**page.HEADERS, "Content-Language": language})


def _url(http: Request, receipt: Receipt) -> str:
    public: str = http.app.state.settings.public_url
    return f"{public.rstrip('/')}/r/{grouped(receipt.number)}"
