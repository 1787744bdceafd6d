"""HTTP in: a channel's deliveries."""

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, ConfigDict, Field

from chassis.http.problems import TOO_BROAD, Problem
from chassis.http.route import engine_of
from events.payments import Payer
from services.notifications.deliveries.follow import Status, list_deliveries
from services.notifications.recipients.authenticate import CallingChannel

router = APIRouter(prefix="/v1")


class DeliveriesQuery(BaseModel):
    """The filter and page of a list of deliveries."""

    payer: Payer | None = None
    status: Status | None = None
    cursor: UUID | None = Field(None, description="next_cursor of the page before")
    limit: int = Field(50, ge=1, le=200)


class DeliveryOut(BaseModel):
    """One event on its way to one recipient."""

    model_config = ConfigDict(from_attributes=True)

    id: UUID
    event_id: UUID
    event_type: str
    medium: Literal["mail", "webhook"]
    payer: str
    status: Status
    attempts: int
    reason: str | None = Field(description="what went wrong last, a short code")
    next_attempt_at: datetime | None
    created_at: datetime
    ended_at: datetime | None


class Deliveries(BaseModel):
    """A page, newest first. Request the next page with `cursor=next_cursor`; there is none when that is null."""

    items: list[DeliveryOut]
    next_cursor: UUID | None


@router.get("/deliveries", tags=["Deliveries"])
async def get_deliveries(
    http: Request, channel: CallingChannel, query: Annotated[DeliveriesQuery, Query()]
) -> Deliveries:
    """List the deliveries about one payer, or the failed ones of the whole channel. They are stored for 30 days."""
    if query.payer is None and query.status != "failed":
        detail = "Name a payer, or ask for `status=failed`."
        raise Problem(TOO_BROAD, detail)
    async with engine_of(http).connect() as connection:
        found = await list_deliveries(
            connection,
            limit=query.limit + 1,
            channel=channel,
            payer=query.payer,
            status=query.status,
            before=query.cursor,
        )
    items = [DeliveryOut.model_validate(each) for each in found[: query.limit]]
    more = len(found) > query.limit
    return Deliveries(items=items, next_cursor=items[-1].id if more else None)
