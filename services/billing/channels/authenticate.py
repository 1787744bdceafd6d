"""Who is calling: the API key of a channel, as a FastAPI dependency. A revoked key stops within two seconds."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from chassis.http.bearer import Callers
from services.billing.channels.keys import Channel, open_with

# Only tells the documentation that there is a key to enter; `Callers` reads the header itself.
_SCHEME = HTTPBearer(auto_error=False, description="a key of your channel: `mh_…`")
_CALLERS = Callers(
    open_with,
    realm="meterhall",
    missing="Send `Authorization: Bearer mh_…` with a key of your channel.",
)


async def authenticate(
    request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)] = None
) -> Channel:
    """The calling channel; raises Problem 401 that says what to do."""
    del shown
    return await _CALLERS.of(request)
