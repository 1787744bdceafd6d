"""Who is calling: the API key of a channel, as a FastAPI dependency. A revoked key stops within two seconds."""

import asyncio
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
# Keys that are being asked about: when belief ends, hundreds of requests may want to know the same thing.
_asked: dict[str, asyncio.Task[Channel]] = {}


async def authenticate(
    request: Request, shown: Annotated[HTTPAuthorizationCredentials | None, Depends(_SCHEME)] = None
) -> Channel:
    """The calling channel; raises Problem 401 that says what to do."""
    del shown
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not key:
        raise _unauthorized("Send `Authorization: Bearer mh_…` with a key of your channel.")
    believed_until, channel = _believed.get(key, (0.0, None))
    if channel is not None and believed_until > time.monotonic():
        return channel
    asked = _asked.get(key)
    if asked is None:
        asked = _asked[key] = asyncio.create_task(_open(request.app.state.engine, key))
        asked.add_done_callback(lambda _: _asked.pop(key))
    try:
        # One caller who goes must not take the others along.
        return await asyncio.shield(asked)
    except KeyRefusedError as error:
        raise _unauthorized(str(error)) from error


async def _open(engine: AsyncEngine, key: str) -> Channel:
    began = time.monotonic()
    try:
        async with engine.connect() as connection:
            channel = await open_with(connection, key)
    except KeyRefusedError:
        _believed.pop(key, None)
        raise
    if len(_believed) >= MOST_BELIEVED:
        _believed.clear()
    _believed[key] = (began + BELIEVED_SECONDS, channel)
    return channel


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        "unauthorized",
        "Who is calling?",
        detail,
        headers={"WWW-Authenticate": 'Bearer realm="meterhall"'},
    )
