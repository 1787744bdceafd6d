"""Authentication by a channel's API key, as a FastAPI dependency. A revoked key stops working within two seconds."""

from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from chassis.http.bearer import Callers
from services.billing.channels.keys import Channel, open_with

# Only for the documentation, which asks for a key; `Callers` reads the header itself.
_SCHEME = HTTPBearer(auto_error=False, description="a key of your channel: `mh_…`")
_CALLERS = Callers(
    open_with,
    realm="meterhall",
    missing="Send `Authorization: Bearer mh_…` with a key of your channel.",
)


async def authenticate(
    request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)] = None
) -> Channel:
    """Return the calling channel. Raises Problem 401 that says what to do."""
    del shown
    return await _CALLERS.of(request)
