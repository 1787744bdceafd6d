"""Top-ups that were declined, and about which the PSP may report something later."""

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.billing.outside.ended import Ended, EndedRows, in_words, locks
from services.billing.subject import Kind, Subject
from services.billing.top_ups.tables import TopUpState

_ENDED = f"state = '{TopUpState.DECLINED}'"

LOCK = locks("top_ups")
ROWS = EndedRows("top_ups", _ENDED, "transfer_id")

_READ = text(f"""
    SELECT id, psp_intent_id, amount_minor, currency, state, reason, transfer_id FROM top_ups
    WHERE id = ANY(CAST(:ids AS uuid[])) AND {_ENDED} AND psp_intent_id IS NOT NULL
""")  # noqa: S608 - the states are our own constants


async def read_ended(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Ended]:
    """Return those of these top-ups that were declined and have an intent."""
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
