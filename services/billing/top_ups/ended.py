"""Top-ups that have been declined, and of which the PSP tells later."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.outside.ended import Ended, KeptIntent, in_words
from services.billing.subject import Kind, Subject
from services.billing.top_ups.tables import TopUpState

_ENDED = f"state = '{TopUpState.DECLINED}'"

# An intent that we did not know is kept: it was named by the PSP, and is compared when it is looked at.
_KEEP_INTENT = text(f"""
    UPDATE top_ups SET psp_intent_id = coalesce(psp_intent_id, :intent_id)
    WHERE id = :id AND {_ENDED} RETURNING psp_intent_id, transfer_id
""")  # noqa: S608 - the states are our own constants
_LOCK_ENDED = text(f"""
    SELECT transfer_id FROM top_ups WHERE id = :id AND {_ENDED} AND psp_intent_id IS NOT NULL FOR NO KEY UPDATE
""")  # noqa: S608 - the states are our own constants
_LOCK = text("""
    SELECT id FROM top_ups WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")
_READ = text(f"""
    SELECT id, psp_intent_id, amount_minor, currency, state, reason, transfer_id FROM top_ups
    WHERE id = ANY(CAST(:ids AS uuid[])) AND {_ENDED} AND psp_intent_id IS NOT NULL
""")  # noqa: S608 - the states are our own constants


async def keep_intent(connection: AsyncConnection, id: UUID, intent_id: str) -> KeptIntent | None:
    """Keep the intent of a top-up that was declined; None for any other."""
    kept = await connection.execute(_KEEP_INTENT, {"id": id, "intent_id": intent_id})
    row = kept.one_or_none()
    return KeptIntent(*row) if row else None


async def lock_ended(connection: AsyncConnection, id: UUID) -> UUID | None:
    """Lock a top-up that was declined; the id of the transfer that would have booked it."""
    found: UUID | None = await connection.scalar(_LOCK_ENDED, {"id": id})
    return found


async def lock(connection: AsyncConnection, ids: Sequence[UUID]) -> None:
    """Lock these top-ups."""
    await connection.execute(_LOCK, {"ids": list(ids)})


async def read_ended(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Ended]:
    """Those of these top-ups that were declined, and have an intent."""
    rows = await connection.execute(_READ, {"ids": list(ids)})
    return [
        Ended(
            Subject(Kind.TOP_UP, row.id),
            row.psp_intent_id,
            row.amount_minor,
            row.currency,
            in_words(row.state, row.reason),
            row.transfer_id,
        )
        for row in rows
    ]
