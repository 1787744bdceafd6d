"""Who is calling: the API key of a channel, as a FastAPI dependency. A revoked key stops within two seconds."""

import time
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.problems import Problem
from services.billing.channels.keys import Channel, KeyRefusedError, open_with

# How long an accepted key is believed without asking again.
BELIEVED_SECONDS = 2.0
# More keys than this at once means somebody is guessing; start over rather than grow.
MOST_BELIEVED = 10_000

# Only tells the documentation that there is a key to enter; what it finds is looked at below.
_SCHEME = HTTPBearer(auto_error=False, description="a key of your channel: `mh_…`")

_believed: dict[str, tuple[float, Channel]] = {}


async def authenticate(
    request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)] = None
) -> Channel:
    """The calling channel; raises Problem 401 that says what to do."""
    del shown
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise _unauthorized("Send `Authorization: Bearer mh_…` with a key of your channel.")
    believed_until, channel = _believed.get(key, (0.0, None))
    now = time.monotonic()
    if channel is not None and believed_until > now:
        return channel
    engine: AsyncEngine = request.app.state.engine
    try:
        async with engine.connect() as connection:
            channel = await open_with(connection, key)
    except KeyRefusedError as error:
        _believed.pop(key, None)
        raise _unauthorized(str(error)) from error
    if len(_believed) >= MOST_BELIEVED:
        _believed.clear()
    _believed[key] = (now + BELIEVED_SECONDS, channel)
    return channel


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        "unauthorized",
        "Who is calling?",
        detail,
        headers={"WWW-Authenticate": 'Bearer realm="meterhall"'},
    )
