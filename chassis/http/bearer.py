"""Who is calling: bearer tokens `<kind>_<prefix>_<secret>`. A token is shown once, and only its SHA-256 is kept.

The prefix names a token without opening anything. An accepted token is believed for two seconds without asking the
database again, so a revoked one stops within that.
"""

import asyncio
import hashlib
import hmac
import secrets
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from fastapi import Request
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.http.problems import UNAUTHORIZED, Problem
from chassis.http.route import engine_of

CallerT = TypeVar("CallerT")

BELIEVED_SECONDS = 2.0
# More tokens than this at once means somebody is guessing; start over rather than grow.
MOST_BELIEVED = 10_000


class TokenRefusedError(Exception):
    """The token does not open anything; the text says why, and what to do."""


class Callers(Generic[CallerT]):
    """The callers of one API. `find` returns whom a token belongs to, or raises TokenRefusedError; `realm` is what the
    API calls itself, and `missing` what a caller without a token is told."""

    def __init__(
        self,
        find: Callable[[AsyncConnection, str], Awaitable[CallerT]],
        *,
        realm: str,
        missing: str,
    ) -> None:
        self._find = find
        self._realm = realm
        self._missing = missing
        self._believed: dict[str, tuple[float, CallerT]] = {}
        # Tokens that are being asked about: when belief ends, hundreds of requests may want to know the same thing.
        self._asked: dict[str, asyncio.Task[CallerT]] = {}

    async def of(self, request: Request) -> CallerT:
        """The caller; raises Problem 401 that says what to do."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise self._unauthorized(self._missing)
        believed = self._believed.get(token)
        if believed is not None and believed[0] > time.monotonic():
            return believed[1]
        asked = self._asked.get(token)
        if asked is None:
            asked = self._asked[token] = asyncio.create_task(self._ask(engine_of(request), token))
            asked.add_done_callback(lambda _: self._asked.pop(token))
        try:
            # One caller who goes must not take the others along.
            return await asyncio.shield(asked)
        except TokenRefusedError as error:
            raise self._unauthorized(str(error)) from error

    async def _ask(self, engine: AsyncEngine, token: str) -> CallerT:
        began = time.monotonic()
        try:
            async with engine.connect() as connection:
                caller = await self._find(connection, token)
        except TokenRefusedError:
            self._believed.pop(token, None)
            raise
        if len(self._believed) >= MOST_BELIEVED:
            self._believed.clear()
        self._believed[token] = (began + BELIEVED_SECONDS, caller)
        return caller

    def _unauthorized(self, detail: str) -> Problem:
        return Problem(
            UNAUTHORIZED,
            detail,
            headers={"WWW-Authenticate": f'Bearer realm="{self._realm}"'},
        )


def new_token(kind: str) -> str:
    """A new token of this kind, which begins with it."""
    return f"{kind}_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def prefix_of(token: str) -> str:
    """The part of a token that names it without opening anything; a text that is no token is taken for its prefix."""
    parts = token.split("_", 2)
    return parts[1] if len(parts) == 3 else token


def hash_of(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()


def opens(token: str, kept: bytes | None) -> bool:
    """Whether this is the token of the kept hash. As slow when there is no such hash, so that a stranger learns nothing
    from the time it takes."""
    return hmac.compare_digest(kept or bytes(32), hash_of(token)) and kept is not None
