"""What has ended here, and of which the PSP may tell something later. Its owners read it; late/ asks about it."""

from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.bills.connectors import Application
from services.billing.subject import Subject


class KeptIntent(NamedTuple):
    """The intent that is kept of something that has ended without money, and the id of the transfer that would have
    booked it."""

    intent_id: str
    transfer_id: UUID


@dataclass(frozen=True, slots=True)
class Ended:
    """Something that has ended. `how` says in words how; the transfer with `transfer_id` books it, or would have.

    `application`: the apply of a payment that the biller was asked about.
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
    """The rows of a table that have ended without money. `ended` is the condition; `transfer` names the column with the
    id of the transfer that would have booked one."""

    def __init__(self, table: str, ended: str, transfer: str) -> None:
        # An intent that we did not know is kept: it was named by the PSP, and is compared when it is looked at.
        self._keep_intent = text(f"""
            UPDATE {table} SET psp_intent_id = coalesce(psp_intent_id, :intent_id)
            WHERE id = :id AND {ended} RETURNING psp_intent_id, {transfer}
        """)  # noqa: S608 - the owner's own words
        self._lock_ended = text(f"""
            SELECT {transfer} FROM {table} WHERE id = :id AND psp_intent_id IS NOT NULL AND {ended} FOR NO KEY UPDATE
        """)  # noqa: S608 - the owner's own words

    async def keep_intent(
        self, connection: AsyncConnection, id: UUID, intent_id: str
    ) -> KeptIntent | None:
        """Keep the intent of one that has ended without money; None for any other."""
        kept = await connection.execute(self._keep_intent, {"id": id, "intent_id": intent_id})
        row = kept.one_or_none()
        return KeptIntent(*row) if row else None

    async def lock(self, connection: AsyncConnection, id: UUID) -> UUID | None:
        """Lock one that has ended without money and has an intent; the id of its transfer."""
        found: UUID | None = await connection.scalar(self._lock_ended, {"id": id})
        return found


def locks(table: str) -> TextClause:
    """The statement that locks the rows with these `ids`."""
    return text(
        f"SELECT id FROM {table} WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE"  # noqa: S608
    )


def in_words(state: str, reason: str | None) -> str:
    """How it ended: `voided: closed_for_today`."""
    return f"{state}: {reason}" if reason else state
