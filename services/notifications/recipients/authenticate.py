"""Authentication by a channel's token, as a FastAPI dependency. A revoked token stops working within two seconds."""

from typing import Annotated

from fastapi import Depends, Request

from chassis.http.bearer import Callers
from services.notifications.recipients.tokens import channel_of

_CALLERS = Callers(
    channel_of,
    realm="meterhall-notifications",
    missing="Send `Authorization: Bearer mhn_…` with a token of your channel.",
)


async def authenticate(request: Request) -> str:
    """Return the calling channel. Raises Problem 401 that says what to do."""
    return await _CALLERS.of(request)


# A parameter of a route: the id of the channel that calls it.
CallingChannel = Annotated[str, Depends(authenticate)]
