"""Channels and their tokens at this service: `mhn_<prefix>_<secret>`. A token is shown once; only its SHA-256 is
stored.

A channel may have several tokens, so that they can be changed without a gap.
"""

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.http.bearer import TokenRefusedError, hash_of, new_token, prefix_of, token_matches
from events.payments import ChannelId

_ADD = text("INSERT INTO channels (id) VALUES (:id) ON CONFLICT DO NOTHING")
_ISSUE = text("INSERT INTO tokens (prefix, channel, hash) VALUES (:prefix, :channel, :hash)")
_REVOKE = text("""
    UPDATE tokens SET revoked_at = now() WHERE prefix = :prefix AND revoked_at IS NULL RETURNING channel
""")
_FIND = text("SELECT channel, hash FROM tokens WHERE prefix = :prefix AND revoked_at IS NULL")

_CHANNEL_ID: TypeAdapter[str] = TypeAdapter(ChannelId)


def check_channel(channel: str) -> str:
    """Return the channel's id. Raises ValueError for a text that cannot be one."""
    try:
        return _CHANNEL_ID.validate_python(channel)
    except ValidationError:
        raise ValueError(
            f"{channel!r} is no channel id: use small letters, digits and hyphens, at most 40"
        ) from None


async def add_channel(connection: AsyncConnection, channel: str) -> str:
    """Issue a new token, which is shown only now; a channel that is not known yet is added."""
    await connection.execute(_ADD, {"id": channel})
    token = new_token("mhn")
    about = {"prefix": prefix_of(token), "channel": channel, "hash": hash_of(token)}
    await connection.execute(_ISSUE, about)
    return token


async def revoke_token(connection: AsyncConnection, token_or_prefix: str) -> str | None:
    """Revoke a token, given as a whole or by its prefix; return its channel, or None."""
    revoked = await connection.execute(_REVOKE, {"prefix": prefix_of(token_or_prefix)})
    channel: str | None = revoked.scalar_one_or_none()
    return channel


async def channel_of(connection: AsyncConnection, token: str) -> str:
    """Return the channel of this token. Raises TokenRefusedError."""
    row = (await connection.execute(_FIND, {"prefix": prefix_of(token)})).one_or_none()
    if not token_matches(token, row.hash if row else None) or row is None:
        raise TokenRefusedError(
            "This token is not known or was revoked. Ask the operator for a new one."
        )
    return str(row.channel)
