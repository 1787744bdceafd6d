"""Channels and their API keys: `mh_<prefix>_<secret>`. A key is shown once; only its SHA-256 is stored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.http.bearer import TokenRefusedError, hash_of, new_token, prefix_of, token_matches
from events.ids import uuid7

# CNY 50,000: above any household's utility bill, and a limit to the damage of one payment.
DEFAULT_LIMIT_MINOR = 5_000_000

_CREATE = text("""
    INSERT INTO channels (id, name, max_payment_minor) VALUES (:id, :name, :limit) ON CONFLICT DO NOTHING RETURNING id
""")
_KNOWN = text("SELECT id FROM channels WHERE id = :id")
_ISSUE = text(
    "INSERT INTO api_keys (id, channel_id, prefix, hash) VALUES (:id, :channel, :prefix, :hash)"
)
_REVOKE = text("""
    UPDATE api_keys SET revoked_at = now() WHERE prefix = :prefix AND revoked_at IS NULL RETURNING channel_id
""")
_FIND = text("""
    SELECT k.hash, k.revoked_at, c.id, c.active FROM api_keys k JOIN channels c ON c.id = k.channel_id
    WHERE k.prefix = :prefix
""")
_LIST = text("""
    SELECT c.id, c.name, c.active, c.max_payment_minor, c.created_at,
        ARRAY(SELECT k.prefix FROM api_keys k WHERE k.channel_id = c.id AND k.revoked_at IS NULL ORDER BY k.created_at)
            AS prefixes,
        ARRAY(SELECT k.id FROM signing_keys k WHERE k.channel_id = c.id AND k.revoked_at IS NULL ORDER BY k.created_at)
            AS signing_prefixes
    FROM channels c ORDER BY c.id
""")
_LIMITS = text("SELECT id, max_payment_minor FROM channels WHERE active")


# The largest payment of each channel, in minor units; a missing channel is unknown or closed.
Limits = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Channel:
    """A wallet app."""

    id: str


class UnknownChannelError(Exception):
    """There is no such channel."""


async def create_channel(
    connection: AsyncConnection, id: str, name: str, limit_minor: int = DEFAULT_LIMIT_MINOR
) -> bool:
    """Create a channel; return False when the id exists already. `limit_minor` bounds one payment."""
    created = await connection.execute(_CREATE, {"id": id, "name": name, "limit": limit_minor})
    return created.first() is not None


async def channel_exists(connection: AsyncConnection, id: str) -> bool:
    """Return True when there is a channel with this id, open or closed."""
    return await connection.scalar(_KNOWN, {"id": id}) is not None


async def issue_key(connection: AsyncConnection, channel_id: str) -> str:
    """Issue a new key, which is shown only now. The channel's other keys stay valid, so that keys can be rotated."""
    if not await channel_exists(connection, channel_id):
        raise UnknownChannelError(f"there is no channel {channel_id!r}: create it first")
    key = new_token("mh")
    about = {"id": uuid7(), "channel": channel_id, "prefix": prefix_of(key), "hash": hash_of(key)}
    await connection.execute(_ISSUE, about)
    return key


async def revoke_key(connection: AsyncConnection, key_or_prefix: str) -> str | None:
    """Revoke a key, given as a whole or by its prefix; return its channel, or None."""
    revoked = await connection.execute(_REVOKE, {"prefix": prefix_of(key_or_prefix)})
    channel: str | None = revoked.scalar_one_or_none()
    return channel


async def open_with(connection: AsyncConnection, key: str) -> Channel:
    """Return the channel of this key. Raises TokenRefusedError."""
    row = (await connection.execute(_FIND, {"prefix": prefix_of(key)})).one_or_none()
    if not token_matches(key, row.hash if row else None) or row is None:
        raise TokenRefusedError(
            "This key is not known. Send `Authorization: Bearer mh_…` with a key of your channel."
        )
    if row.revoked_at is not None:
        raise TokenRefusedError(
            f"This key was revoked at {row.revoked_at:%F %T %Z}. Use the channel's other key."
        )
    if not row.active:
        raise TokenRefusedError("This channel is closed. Ask the operator.")
    return Channel(row.id)


async def list_channels(connection: AsyncConnection) -> Sequence[RowMapping]:
    """Return every channel: id, name, active, max_payment_minor, created_at, and the prefixes of its valid keys."""
    return (await connection.execute(_LIST)).mappings().all()


async def payment_limits(connection: AsyncConnection) -> Limits:
    """Return the largest payment of each open channel, in minor units. Channels are few, so one read serves a batch."""
    rows = await connection.execute(_LIMITS)
    return {row.id: row.max_payment_minor for row in rows}
