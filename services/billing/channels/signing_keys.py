"""Signing keys: `mhs_<key id>_<secret>`, with which a channel signs the commands that it writes to Kafka.

A key's secret is derived from METERHALL_COMMAND_SECRET, the channel and the key id, so the database has no key that
signs. Several keys of a channel may be valid at the same time, so that they can be rotated.
"""

import base64
import hashlib
import hmac
import secrets

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.http.bearer import prefix_of
from events.signature import SigningKey
from services.billing.channels.keys import UnknownChannelError, channel_exists
from services.billing.channels.trust import Trust

# The HTTP door's own key. It belongs to no channel and signs for all, because the door has authenticated the caller.
DOOR = "door"
NO_CHANNEL = ""  # no channel's id is empty

_ISSUE = text("INSERT INTO signing_keys (id, channel_id) VALUES (:id, :channel)")
_REVOKE = text("""
    UPDATE signing_keys SET revoked_at = now() WHERE id = :id AND revoked_at IS NULL RETURNING channel_id
""")
_VALID = text("""
    SELECT k.id, k.channel_id FROM signing_keys k JOIN channels c ON c.id = k.channel_id
    WHERE k.revoked_at IS NULL AND c.active
""")


def derive(secret: bytes, channel_id: str, key_id: str) -> str:
    """Return the signing key of this id and channel, always the same."""
    digest = hmac.digest(secret, f"{channel_id}\n{key_id}".encode(), hashlib.sha256)
    return f"mhs_{key_id}_{base64.urlsafe_b64encode(digest).decode().rstrip('=')}"


def door_key(trust: Trust) -> SigningKey | None:
    """Return the key with which the HTTP door signs; None when signatures are not checked."""
    return SigningKey(derive(trust.secret, NO_CHANNEL, DOOR)) if trust.secret else None


async def issue_signing_key(connection: AsyncConnection, secret: bytes, channel_id: str) -> str:
    """Issue a new signing key of the channel; its other keys stay valid. Raises UnknownChannelError."""
    if not await channel_exists(connection, channel_id):
        raise UnknownChannelError(f"there is no channel {channel_id!r}: create it first")
    id = secrets.token_hex(4)
    await connection.execute(_ISSUE, {"id": id, "channel": channel_id})
    return derive(secret, channel_id, id)


async def revoke_signing_key(connection: AsyncConnection, key_or_id: str) -> str | None:
    """Revoke a signing key, given as a whole or by its id; return its channel, or None."""
    revoked = await connection.execute(_REVOKE, {"id": prefix_of(key_or_id)})
    channel: str | None = revoked.scalar_one_or_none()
    return channel


async def valid_signing_keys(connection: AsyncConnection) -> dict[str, str]:
    """Return the channel of each key that is not revoked, by key id, without keys of closed channels."""
    return {row.id: row.channel_id for row in await connection.execute(_VALID)}
