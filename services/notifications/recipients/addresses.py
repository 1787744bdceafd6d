"""What others may know of channels, payers and endpoints: who is there to be told, and where a delivery goes.

Deliveries are planned and claimed in one statement each, so these are parts of SQL; only this folder names its tables.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncConnection

# After FROM: the endpoint that gets an event `e`, and the address of its payer. None or one row each.
ENDPOINT_OF_EVENT = "endpoints WHERE endpoints.channel = e.channel AND active"
PAYER_OF_EVENT = "recipients r WHERE r.channel = e.channel AND r.payer = e.payer"

# What a statement selects and joins so that `address_of` can read where its deliveries `c` go.
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
    """Where a delivery goes, read when it is claimed; what is None was taken away meanwhile."""

    email: str | None = None
    language: str | None = None
    url: str | None = None
    secrets: tuple[str, ...] = ()


def address_of(row: Row[Any]) -> Address:
    """The address in a row that has ADDRESS_COLUMNS. The newest secret comes first."""
    secrets = tuple(secret for secret in (row.secret, row.previous_secret) if secret)
    return Address(row.email, row.language, row.url, secrets)


async def channel_ids(connection: AsyncConnection) -> list[str]:
    """The ids of all channels; there are few of them."""
    return [str(id) for id in (await connection.execute(_CHANNELS)).scalars()]
