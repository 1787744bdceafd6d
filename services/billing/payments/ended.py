"""Payments that have ended without money, and of which the PSP tells later."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from chassis.database import one_of
from services.billing.outside.calls import subjects_asked
from services.billing.outside.ended import Ended, KeptIntent, in_words
from services.billing.payments.read import find_ended
from services.billing.payments.tables import WITHOUT_MONEY

_ENDED = one_of("state", WITHOUT_MONEY)

# An intent that we did not know is kept: it was named by the PSP, and is compared when it is looked at.
_KEEP_INTENT = text(f"""
    UPDATE payments SET psp_intent_id = coalesce(psp_intent_id, :intent_id)
    WHERE id = :id AND funding = 'psp' AND {_ENDED} RETURNING psp_intent_id, id
""")  # noqa: S608 - the states are our own constants
_LOCK_ENDED = text(f"""
    SELECT id FROM payments WHERE id = :id AND psp_intent_id IS NOT NULL AND {_ENDED} FOR NO KEY UPDATE
""")  # noqa: S608 - the states are our own constants
_LOCK = text("""
    SELECT id FROM payments WHERE id = ANY(CAST(:ids AS uuid[])) ORDER BY id FOR NO KEY UPDATE
""")


async def keep_intent(connection: AsyncConnection, id: UUID, intent_id: str) -> KeptIntent | None:
    """Keep the intent of a payment that has ended without money; None for any other."""
    kept = await connection.execute(_KEEP_INTENT, {"id": id, "intent_id": intent_id})
    row = kept.one_or_none()
    return KeptIntent(*row) if row else None


async def lock_ended(connection: AsyncConnection, id: UUID) -> UUID | None:
    """Lock a payment that has ended without money; the id of the transfer that would have booked it."""
    found: UUID | None = await connection.scalar(_LOCK_ENDED, {"id": id})
    return found


async def lock(connection: AsyncConnection, ids: Sequence[UUID]) -> None:
    """Lock these payments."""
    await connection.execute(_LOCK, {"ids": list(ids)})


async def read_ended(connection: AsyncConnection, ids: Sequence[UUID]) -> list[Ended]:
    """Those of these payments that have ended without money, and have an intent."""
    payments = await find_ended(connection, ids)
    asked = await subjects_asked(
        connection, [each.subject for each in payments], ("apply", "unapply")
    )
    found: list[Ended] = []
    for each in payments:
        assert each.intent_id is not None
        ended = Ended(
            each.subject,
            each.intent_id,
            each.amount_minor,
            each.currency,
            in_words(each.state, each.reason),
            each.id,
        )
        if each.by_call and each.subject in asked:
            ended = replace(ended, biller_id=each.bill.biller_id, application=each.application)
        found.append(ended)
    return found
