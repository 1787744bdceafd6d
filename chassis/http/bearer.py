"""Authentication by bearer tokens `<kind>_<prefix>_<secret>`. A token is shown once; only its SHA-256 is stored.

The prefix names a token and opens nothing. An accepted token is cached for two seconds, so a revoked token stops
working within that time.
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

CACHE_SECONDS = 2.0
# More cached tokens than this mean that somebody is guessing tokens: the cache is emptied instead of growing.
MOST_CACHED = 10_000


class TokenRefusedError(Exception):
    """The token is not valid; the text says why and what to do."""


class Callers(Generic[CallerT]):
    """The callers of one API. `find` returns the owner of a token or raises TokenRefusedError; `realm` is the API's
    name; `missing` is the message for a caller without a token.
    """

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
        self._cache: dict[str, tuple[float, CallerT]] = {}
        # Lookups under way, by token: when a cache entry expires, hundreds of requests may need the same token.
        self._lookups: dict[str, asyncio.Task[CallerT]] = {}

    async def of(self, request: Request) -> CallerT:
        """Return the caller of a request. Raises Problem 401 that says what to do."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise self._unauthorized(self._missing)
        cached = self._cache.get(token)
        if cached is not None and cached[0] > time.monotonic():
            return cached[1]
        lookup = self._lookups.get(token)
        if lookup is None:
            lookup = asyncio.create_task(self._look_up(engine_of(request), token))
            self._lookups[token] = lookup
            lookup.add_done_callback(lambda _: self._lookups.pop(token))
        try:
            # A caller that disconnects must not cancel the lookup for the others.
            return await asyncio.shield(lookup)
        except TokenRefusedError as error:
            raise self._unauthorized(str(error)) from error

    async def _look_up(self, engine: AsyncEngine, token: str) -> CallerT:
        began = time.monotonic()
        try:
            async with engine.connect() as connection:
                caller = await self._find(connection, token)
        except TokenRefusedError:
            self._cache.pop(token, None)
            raise
        if len(self._cache) >= MOST_CACHED:
            self._cache.clear()
        self._cache[token] = (began + CACHE_SECONDS, caller)
        return caller

    def _unauthorized(self, detail: str) -> Problem:
        return Problem(
            UNAUTHORIZED,
            detail,
            headers={"WWW-Authenticate": f'Bearer realm="{self._realm}"'},
        )


def new_token(kind: str) -> str:
    """Return a new token that begins with this kind."""
    return f"{kind}_{secrets.token_hex(4)}_{secrets.token_urlsafe(32)}"


def prefix_of(token: str) -> str:
    """Return the part of a token that names it. A text that is not a token is taken for a prefix."""
    parts = token.split("_", 2)
    return parts[1] if len(parts) == 3 else token


def hash_of(token: str) -> bytes:
    """Return the SHA-256 of a token, which is stored instead of it."""
    return hashlib.sha256(token.encode()).digest()


def token_matches(token: str, stored_hash: bytes | None) -> bool:
    """Return True when this is the token of the stored hash. Without a hash it takes as long, so that the time of the
    response reveals nothing to a stranger."""
    return hmac.compare_digest(stored_hash or bytes(32), hash_of(token)) and stored_hash is not None
