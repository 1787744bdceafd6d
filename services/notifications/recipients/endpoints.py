"""A channel's endpoint: the URL of its webhooks, and the secret with which they are signed.

A secret is shown when it is created, and never again. While it is being changed, both secrets sign.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Long enough to deploy the new secret at the receiver.
BOTH_SECRETS_HOURS = 24

_COLUMNS = "channel, url, active, previous_until, updated_at"
_INSERT = text("""
    INSERT INTO endpoints (channel, url, active, secret) VALUES (:channel, :url, :active, :secret)
    ON CONFLICT (channel) DO NOTHING RETURNING channel
""")
_UPDATE = text(
    "UPDATE endpoints SET url = :url, active = :active, updated_at = now() WHERE channel = :channel"
)
_ROTATE = text("""
    UPDATE endpoints SET previous_secret = secret, previous_until = now() + make_interval(hours => :hours),
        secret = :secret, updated_at = now()
    WHERE channel = :channel
""")
_FIND = text(f"SELECT {_COLUMNS} FROM endpoints WHERE channel = :channel")  # noqa: S608 - fixed words


@dataclass(frozen=True, slots=True)
class Endpoint:
    """An endpoint, without its secrets. Until `previous_until` the secret before the last one signs as well."""

    channel: str
    url: str
    active: bool
    previous_until: datetime | None
    updated_at: datetime


async def set_endpoint(
    connection: AsyncConnection,
    channel: str,
    url: str,
    *,
    active: bool = True,
    rotate: bool = False,
) -> str | None:
    """Set the channel's endpoint; return the secret if a new one was created (for a new endpoint, or to `rotate`).

    `url` is the result of check_url. Raises IntegrityError for an unknown channel.
    """
    secret = f"whsec_{secrets.token_urlsafe(32)}"
    values = {"channel": channel, "url": url, "active": active}
    inserted = await connection.execute(_INSERT, {**values, "secret": secret})
    if inserted.first() is not None:
        return secret
    await connection.execute(_UPDATE, values)
    if not rotate:
        return None
    await connection.execute(
        _ROTATE, {"channel": channel, "secret": secret, "hours": BOTH_SECRETS_HOURS}
    )
    return secret


async def find_endpoint(connection: AsyncConnection, channel: str) -> Endpoint | None:
    """Return the channel's endpoint, or None."""
    row = (await connection.execute(_FIND, {"channel": channel})).one_or_none()
    return None if row is None else Endpoint(*row)
