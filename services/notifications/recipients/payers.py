"""The mail addresses of payers: set by their channel, read when a mail is sent, deleted by the channel."""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

_PUT = text("""
    INSERT INTO recipients (channel, payer, email, language) VALUES (:channel, :payer, :email, :language)
    ON CONFLICT (channel, payer) DO UPDATE SET email = excluded.email, language = excluded.language, updated_at = now()
    RETURNING payer, email, language, updated_at
""")
_FIND = text("""
    SELECT payer, email, language, updated_at FROM recipients WHERE channel = :channel AND payer = :payer
""")
_FORGET = text("DELETE FROM recipients WHERE channel = :channel AND payer = :payer RETURNING payer")


@dataclass(frozen=True, slots=True)
class Recipient:
    """A payer's address and language."""

    payer: str
    email: str
    language: str
    updated_at: datetime


async def put_recipient(
    connection: AsyncConnection, channel: str, payer: str, email: str, language: str
) -> Recipient:
    """Set the payer's address. Raises DBAPIError for an address that does not fit into a header."""
    row = await connection.execute(
        _PUT, {"channel": channel, "payer": payer, "email": email, "language": language}
    )
    return Recipient(*row.one())


async def find_recipient(connection: AsyncConnection, channel: str, payer: str) -> Recipient | None:
    """Return the payer's address, or None."""
    row = (await connection.execute(_FIND, {"channel": channel, "payer": payer})).one_or_none()
    return None if row is None else Recipient(*row)


async def forget_recipient(connection: AsyncConnection, channel: str, payer: str) -> bool:
    """Delete the payer's address; pending mails fail as `no_recipient`. Return False when there was none."""
    gone = await connection.execute(_FORGET, {"channel": channel, "payer": payer})
    return gone.first() is not None
