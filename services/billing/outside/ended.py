"""Payments, refunds and top-ups that have ended here, about which the PSP may still report something (late/)."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.bills.connectors import Application
from services.billing.subject import Subject


class StoredIntent(NamedTuple):
    """The intent of a row that ended without money, and the id of the transfer that would have booked it."""

    intent_id: str
    transfer_id: UUID


@dataclass(frozen=True, slots=True)
class Ended:
    """A row that has ended. `how` is its end in words; the transfer with `transfer_id` books it, or would have.

    `application`: the apply of a payment, when the biller was called.
    """

    subject: Subject
    intent_id: str
    amount_minor: int
    currency: str
    how: str
    transfer_id: UUID
    biller_id: str = ""
    application: Application | None = None


class EndedRows:
    """The rows of a table that have ended without money. `ended` is the condition in SQL; `transfer` names the column
    with the id of the transfer that would have booked the row."""

    def __init__(self, table: str, ended: str, transfer: str) -> None:
        # A row may lack the intent that the PSP reports. It is stored here and verified when the intent is retrieved.
        self._store_intent = text(f"""
            UPDATE {table} SET psp_intent_id = coalesce(psp_intent_id, :intent_id)
            WHERE id = :id AND {ended} RETURNING psp_intent_id, {transfer}
        """)  # noqa: S608 - the table's own names
        self._lock_ended = text(f"""
            SELECT {transfer} FROM {table} WHERE id = :id AND psp_intent_id IS NOT NULL AND {ended} FOR NO KEY UPDATE
        """)  # noqa: S608 - the table's own names

    async def store_intent(
        self, connection: AsyncConnection, id: UUID, intent_id: str
    ) -> StoredIntent | None:
        """Store the intent of a row that has ended without money; return None for any other row."""
        result = await connection.execute(self._store_intent, {"id": id, "intent_id": intent_id})
        row = result.one_or_none()
        return StoredIntent(*row) if row else None

    async def lock(self, connection: AsyncConnection, id: UUID) -> UUID | None:
        """Lock a row that has ended without money and has an intent; return the id of its transfer."""
        transfer_id: UUID | None = await connection.scalar(self._lock_ended, {"id": id})
        return transfer_id


def locks(table: str) -> TextClause:
    """Return the statement that locks the rows with these `ids`."""
    return text(
        f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"  # noqa: S608
    )


def in_words(state: str, reason: str | None) -> str:
    """Return the end in words: `voided: closed_for_today`."""
    return f"{state}: {reason}" if reason else state
