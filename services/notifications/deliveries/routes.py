"""HTTP in: the channel follows what was sent, to whom, and what failed."""

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


class DeliveriesAsked(BaseModel):
    """Which deliveries."""

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
    """A page, newest first. Ask for the next one with `cursor=next_cursor`; there is none when it is null."""

    items: list[DeliveryOut]
    next_cursor: UUID | None


@router.get("/deliveries", tags=["Deliveries"])
async def get_deliveries(
    http: Request, channel: CallingChannel, asked: Annotated[DeliveriesAsked, Query()]
) -> Deliveries:
    """What was sent about one payer, or what failed for the whole channel. Kept for 30 days."""
    if asked.payer is None and asked.status != "failed":
        detail = "Name a payer, or ask for `status=failed`."
        raise Problem(TOO_BROAD, detail)
    async with engine_of(http).connect() as connection:
        found = await list_deliveries(
            connection,
            limit=asked.limit + 1,
            channel=channel,
            payer=asked.payer,
            status=asked.status,
            before=asked.cursor,
        )
    items = [DeliveryOut.model_validate(each) for each in found[: asked.limit]]
    more = len(found) > asked.limit
    return Deliveries(items=items, next_cursor=items[-1].id if more else None)
