"""HTTP in: a channel sets its payers' mail addresses and its own webhook endpoint."""

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from chassis.http.problems import BAD_ENDPOINT, NOT_FOUND, Problem
from chassis.http.route import engine_of
from events.payments import Payer
from services.notifications.recipients.authenticate import CallingChannel
from services.notifications.recipients.endpoints import find_endpoint, set_endpoint
from services.notifications.recipients.payers import (
    find_recipient,
    forget_recipient,
    put_recipient,
)
from services.notifications.recipients.tables import EMAIL_CHARACTERS, URL_CHARACTERS
from services.notifications.recipients.urls import check_url
from services.notifications.settings import Settings

router = APIRouter(prefix="/v1")
PayerInPath = Annotated[Payer, Path(description="the channel's opaque name for its user")]


def _one_address(email: str) -> str:
    # Exactly one address for a mail server: no name, no list, no comment, no second header.
    mailbox, _, domain = email.rpartition("@")
    if not mailbox or len(mailbox) > 64 or not domain or not email.isascii():
        raise ValueError("use one plain ASCII address, name@example.org")
    if any(each <= " " or each in '()<>[]:;,\\"\x7f' for each in email) or "@" in mailbox:
        raise ValueError("use one plain ASCII address, name@example.org")
    if any(not part for part in (*mailbox.split("."), *domain.split("."))):
        raise ValueError("a dot stands between two parts of an address")
    return email


class RecipientIn(BaseModel):
    """A payer's mail address and language."""

    model_config = ConfigDict(extra="forbid")

    email: Annotated[str, Field(max_length=EMAIL_CHARACTERS), AfterValidator(_one_address)]
    language: Literal["zh-CN", "en"] = "zh-CN"


class RecipientOut(BaseModel):
    """A payer's address as it is stored."""

    model_config = ConfigDict(from_attributes=True)

    payer: str
    email: str
    language: Literal["zh-CN", "en"]
    updated_at: datetime


class EndpointIn(BaseModel):
    """The URL of the channel's webhooks."""

    model_config = ConfigDict(extra="forbid")

    url: Annotated[str, Field(max_length=URL_CHARACTERS)]
    active: bool = Field(True, description="false stops webhooks; what is pending fails")
    rotate_secret: bool = Field(
        False, description="make a new secret; for 24 hours the old one signs as well"
    )


class EndpointOut(BaseModel):
    """The endpoint. `secret` is present only in the response that created it."""

    model_config = ConfigDict(from_attributes=True)

    url: str
    active: bool
    previous_until: datetime | None = Field(description="until then two secrets sign")
    updated_at: datetime
    secret: str | None = None


@router.put("/recipients/{payer}", tags=["Recipients"])
async def put(
    payer: PayerInPath, body: RecipientIn, http: Request, channel: CallingChannel
) -> RecipientOut:
    """Send this payer mail from the next event on."""
    async with engine_of(http).begin() as connection:
        recipient = await put_recipient(connection, channel, payer, body.email, body.language)
    return RecipientOut.model_validate(recipient)


@router.get("/recipients/{payer}", tags=["Recipients"])
async def get(payer: PayerInPath, http: Request, channel: CallingChannel) -> RecipientOut:
    """Return the payer's address."""
    async with engine_of(http).connect() as connection:
        found = await find_recipient(connection, channel, payer)
    if found is None:
        raise Problem(NOT_FOUND, "This payer has no address: PUT one here.")
    return RecipientOut.model_validate(found)


@router.delete("/recipients/{payer}", tags=["Recipients"], status_code=204)
async def delete(payer: PayerInPath, http: Request, channel: CallingChannel) -> Response:
    """Delete the payer's address. Pending mails fail; deleting it again changes nothing."""
    async with engine_of(http).begin() as connection:
        await forget_recipient(connection, channel, payer)
    return Response(status_code=204)


@router.put("/endpoint", tags=["Webhooks"])
async def put_endpoint(body: EndpointIn, http: Request, channel: CallingChannel) -> EndpointOut:
    """Send every payment and receipt event of the channel to this URL, signed with `Meterhall-Signature`."""
    settings: Settings = http.app.state.settings
    try:
        url = check_url(body.url, allow_loopback=settings.webhook_allow_loopback)
    except ValueError as error:
        raise Problem(
            BAD_ENDPOINT,
            f"{error}.".capitalize(),
            errors=[{"field": "url", "message": str(error)}],
        ) from error
    async with engine_of(http).begin() as connection:
        secret = await set_endpoint(
            connection, channel, url, active=body.active, rotate=body.rotate_secret
        )
        endpoint = await find_endpoint(connection, channel)
    return EndpointOut.model_validate(endpoint).model_copy(update={"secret": secret})


@router.get("/endpoint", tags=["Webhooks"])
async def get_endpoint(http: Request, channel: CallingChannel) -> EndpointOut:
    """Return the channel's endpoint, without its secret."""
    async with engine_of(http).connect() as connection:
        found = await find_endpoint(connection, channel)
    if found is None:
        raise Problem(NOT_FOUND, "This channel has no endpoint: PUT one here.")
    return EndpointOut.model_validate(found)
