"""The channel's endpoint: where its webhooks go, and the secret that they are signed with.

A secret is shown when it is made, and never again. While it is being changed, both are used to sign.
"""

import secrets
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

# Time enough to deploy the new secret at the receiver.
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
    """Set the channel's endpoint; the secret, when a new one was made (for a new endpoint, or to `rotate`).

    `url` is what check_url returned. Raises IntegrityError for a channel that is not known.
    """
    secret = f"whsec_{secrets.token_urlsafe(32)}"
    values = {"channel": channel, "url": url, "active": active}
    made = await connection.execute(_INSERT, {**values, "secret": secret})
    if made.first() is not None:
        return secret
    await connection.execute(_UPDATE, values)
    if not rotate:
        return None
    await connection.execute(
        _ROTATE, {"channel": channel, "secret": secret, "hours": BOTH_SECRETS_HOURS}
    )
    return secret


async def find_endpoint(connection: AsyncConnection, channel: str) -> Endpoint | None:
    """The channel's endpoint."""
    row = (await connection.execute(_FIND, {"channel": channel})).one_or_none()
    return None if row is None else Endpoint(*row)
