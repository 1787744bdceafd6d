"""Addresses for other rooms: the recipients of an event, and the address of a delivery.

Deliveries are planned and claimed in one statement each, so these are parts of SQL; only this folder names its tables.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

# After FROM: the endpoint that gets an event `e`, and the address of its payer. None or one row each.
ENDPOINT_OF_EVENT = "endpoints WHERE endpoints.channel = e.channel AND active"
PAYER_OF_EVENT = "recipients r WHERE r.channel = e.channel AND r.payer = e.payer"

# The columns and joins with which a statement lets `address_of` read the address of its deliveries `c`.
ADDRESS_COLUMNS = """
    r.email, r.language, e.url, e.secret,
        CASE WHEN e.previous_until > now() THEN e.previous_secret END AS previous_secret
"""
ADDRESS_JOINS = """
    LEFT JOIN recipients r ON c.medium = 'mail' AND r.channel = c.channel AND r.payer = c.payer
    LEFT JOIN endpoints e ON c.medium = 'webhook' AND e.channel = c.channel AND e.active
"""

_CHANNELS = text("SELECT id FROM channels")


@dataclass(frozen=True, slots=True)
class Address:
    """The address of a delivery, read when it is claimed; a part that is None was deleted meanwhile."""

    email: str | None = None
    language: str | None = None
    url: str | None = None
    secrets: tuple[str, ...] = ()


def address_of(row: Row[Any]) -> Address:
    """Return the address in a row that has ADDRESS_COLUMNS. The newest secret comes first."""
    secrets = tuple(secret for secret in (row.secret, row.previous_secret) if secret)
    return Address(row.email, row.language, row.url, secrets)


async def channel_ids(connection: AsyncConnection) -> list[str]:
    """Return the ids of all channels; there are few."""
    return [str(id) for id in (await connection.execute(_CHANNELS)).scalars()]
