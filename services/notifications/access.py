"""Who may put recipients and endpoints: a channel, by a token of this service: `mhn_<prefix>_<secret>`.

The token is shown once; we keep its SHA-256. A channel may have several, so that they can be changed without a gap.
"""

import hashlib
import hmac
import secrets
import time

from fastapi import Request
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from chassis.problems import Problem
from events.payments import ChannelId

# How long an accepted token is believed without asking again: a revoked one stops this soon.
BELIEVED_SECONDS = 2.0
# More tokens than this at once means somebody is guessing; start over rather than grow.
_MOST_BELIEVED = 10_000

_ADD = text("INSERT INTO channels (id) VALUES (:id) ON CONFLICT DO NOTHING")
_ISSUE = text("INSERT INTO tokens (prefix, channel, hash) VALUES (:prefix, :channel, :hash)")
_REVOKE = text("""
    UPDATE tokens SET revoked_at = now() WHERE prefix = :prefix AND revoked_at IS NULL RETURNING channel
""")
_FIND = text("SELECT channel, hash FROM tokens WHERE prefix = :prefix AND revoked_at IS NULL")

_CHANNEL_ID: TypeAdapter[str] = TypeAdapter(ChannelId)
_believed: dict[str, tuple[float, str]] = {}


def check_channel(channel: str) -> str:
    """The channel's id; raises ValueError for a text that can't be one."""
    try:
        return _CHANNEL_ID.validate_python(channel)
    except ValidationError:
        raise ValueError(
            f"{channel!r} is no channel id: use small letters, digits and hyphens, at most 40"
        ) from None


async def add_channel(connection: AsyncConnection, channel: str) -> str:
    """A new token for the channel, which is added when it is not known yet: the only time that the token is seen."""
    await connection.execute(_ADD, {"id": channel})
    prefix = secrets.token_hex(4)
    token = f"mhn_{prefix}_{secrets.token_urlsafe(32)}"
    await connection.execute(_ISSUE, {"prefix": prefix, "channel": channel, "hash": _hash(token)})
    return token


async def revoke_token(connection: AsyncConnection, token_or_prefix: str) -> str | None:
    """Revoke a token by itself or by its prefix; the channel that it belonged to, or None."""
    revoked = await connection.execute(_REVOKE, {"prefix": _prefix(token_or_prefix)})
    channel: str | None = revoked.scalar_one_or_none()
    return channel


async def channel_of(connection: AsyncConnection, token: str) -> str | None:
    """The channel that this token opens, or None."""
    row = (await connection.execute(_FIND, {"prefix": _prefix(token)})).one_or_none()
    # Compared even when there is no such token, so that a stranger learns nothing from the time it takes.
    opens = hmac.compare_digest(row.hash if row else bytes(32), _hash(token))
    return str(row.channel) if row and opens else None


async def authenticate(request: Request) -> str:
    """The calling channel, as a FastAPI dependency; raises Problem 401 that says what to do."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token:
        raise _unauthorized("Send `Authorization: Bearer mhn_…` with a token of your channel.")
    believed_until, believed = _believed.get(token, (0.0, ""))
    now = time.monotonic()
    if believed_until > now:
        return believed
    engine: AsyncEngine = request.app.state.engine
    async with engine.connect() as connection:
        channel = await channel_of(connection, token)
    if channel is None:
        _believed.pop(token, None)
        raise _unauthorized(
            "This token is not known or was revoked. Ask the operator for a new one."
        )
    if len(_believed) >= _MOST_BELIEVED:
        _believed.clear()
    _believed[token] = (now + BELIEVED_SECONDS, channel)
    return channel


def _prefix(token: str) -> str:
    parts = token.split("_", 2)
    return parts[1] if len(parts) == 3 else token


def _hash(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _unauthorized(detail: str) -> Problem:
    return Problem(
        401,
        "unauthorized",
        "Who is calling?",
        detail,
        headers={"WWW-Authenticate": 'Bearer realm="meterhall-notifications"'},
    )
