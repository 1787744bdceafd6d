"""HTTP in: accounts, lookups and bills.

The web process calls no biller: the command goes through Kafka to the worker, and `Prefer: wait=5` waits until the
worker has recorded the response. Another channel's lookup does not exist.
"""

import re
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.http.problems import NOT_FOUND, Problem
from chassis.http.route import correlation_of, engine_of
from events import bounds
from events.bills import BillerId, LookUpBills
from events.ids import uuid7
from services.billing.bills import follow, request
from services.billing.bills.follow import BillView, LookupView
from services.billing.bills.wait import Answers
from services.billing.channels import Channel, authenticate, claim_key, idempotency_key
from services.billing.docs_pages.problem_types import (
    ACCOUNT_NUMBER_INVALID,
    BILL_UNKNOWN,
    BILLER_UNKNOWN,
)

router = APIRouter(prefix="/v1", tags=["Bills"])
Caller = Annotated[Channel, Depends(authenticate)]
Key = Annotated[str, Depends(idempotency_key)]

# Longer than any biller takes to answer; a connection that waits longer is more likely cut than answered.
LONGEST_WAIT_SECONDS = 10


class AccountRequest(BaseModel):
    """An account at a biller, as its customer knows it."""

    biller_id: BillerId
    account_number: Annotated[
        str,
        Field(
            min_length=1,
            max_length=bounds.ACCOUNT_NUMBER,
            description="as printed on the bill; its form is the biller's: GET /v1/billers/{id}",
        ),
    ]


class AccountView(BaseModel):
    """Our id of an account. It stands for the account number where that must not appear, as in Kafka."""

    id: UUID
    biller_id: str


Prefer = Annotated[
    str | None,
    Header(description="`wait=5` waits up to 5 seconds for the answer (RFC 7240); at most 10"),
]


@router.post("/accounts")
async def open_account(body: AccountRequest, http: Request, channel: Caller) -> AccountView:
    """Return the id of an account, for a LookUpBills command through Kafka.

    The same account always has the same id, so this may be repeated and needs no Idempotency-Key. An account with an id
    need not exist at its biller: only a lookup shows that.
    """
    async with engine_of(http).begin() as connection:
        id = await _account(connection, body)
    return AccountView(id=id, biller_id=body.biller_id)


@router.post("/lookups", status_code=202, responses={200: {"model": LookupView}})
async def look_up(  # noqa: PLR0917
    body: AccountRequest,
    http: Request,
    response: Response,
    channel: Caller,
    key: Key,
    prefer: Prefer = None,
) -> LookupView:
    """Look up what an account owes: 200 with the response if it arrives within the wait, else 202 and its address."""
    async with engine_of(http).begin() as connection:
        claim = await claim_key(connection, channel.id, key, await http.body(), uuid7())
        if not claim.replayed:
            command = LookUpBills(
                lookup_id=claim.resource_id,
                channel=channel.id,
                account_id=await _account(connection, body),
            )
            await request.request_lookup(
                connection, command, http.app.state.door_key, correlation_of(http)
            )
    if seconds := wait_seconds(prefer):
        await _answers(http).wait(claim.resource_id, seconds)
        response.headers["Preference-Applied"] = f"wait={seconds}"
    found = await get_lookup(claim.resource_id, http, channel)
    response.headers["Location"] = f"/v1/lookups/{found.id}"
    if claim.replayed:
        response.headers["Idempotency-Replayed"] = "true"
    if found.status != "processing":
        response.status_code = 200
    return found


@router.get("/lookups/{lookup_id}")
async def get_lookup(lookup_id: UUID, http: Request, channel: Caller) -> LookupView:
    """Return one lookup, with its bills in their present version."""
    async with engine_of(http).connect() as connection:
        found = await follow.lookup(connection, channel.id, lookup_id)
    if found is None:
        raise Problem(NOT_FOUND, "This channel has no lookup with that id.")
    return found


@router.get("/bills/{bill_id}")
async def get_bill(bill_id: UUID, http: Request, channel: Caller) -> BillView:
    """Return one bill, in its latest version."""
    async with engine_of(http).connect() as connection:
        found = await follow.bills(connection, [bill_id])
    if bill_id not in found:
        raise Problem(BILL_UNKNOWN)
    return found[bill_id]


def wait_seconds(prefer: str | None) -> int:
    """Return the seconds to wait by a Prefer header: `wait=5`, or `respond-async, wait=5`; nonsense is ignored."""
    found = re.search(r"(?:^|[,;\s])wait\s*=\s*\"?(\d{1,6})\b", prefer or "", re.IGNORECASE)
    return min(int(found[1]), LONGEST_WAIT_SECONDS) if found else 0


async def _account(connection: AsyncConnection, body: AccountRequest) -> UUID:
    try:
        return await request.open_account(connection, body.biller_id, body.account_number)
    except request.NoActiveBillerError as error:
        raise Problem(BILLER_UNKNOWN) from error
    except request.AccountNumberError as error:
        biller = error.biller
        raise Problem(
            ACCOUNT_NUMBER_INVALID,
            f"{biller.account_number_hint_en} / {biller.account_number_hint_zh}",
            hint_en=biller.account_number_hint_en,
            hint_zh=biller.account_number_hint_zh,
            pattern=biller.account_number_pattern,
        ) from error


def _answers(http: Request) -> Answers:
    # One per process, created by the first request that waits.
    state = http.app.state
    if not hasattr(state, "lookup_answers"):
        state.lookup_answers = Answers(state.engine)
    answers: Answers = state.lookup_answers
    return answers
