"""Read the top-ups that are under way."""

from collections.abc import Sequence
from dataclasses import replace
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from errands import Errand
from services.billing.top_ups.model import TopUp
from services.billing.top_ups.tables import IS_OPEN

_READ = text(f"""
    SELECT id, transfer_id, channel_id, payer, amount_minor, currency, payment_method, psp_intent_id, action_url,
        created_at, reason, correlation_id, former_psp_key
    FROM top_ups WHERE id = ANY(CAST(:ids AS uuid[])) AND {IS_OPEN}
""")  # noqa: S608 - the states are our own constants


async def read_open(connection: AsyncConnection, claimed: Sequence[Errand]) -> list[TopUp]:
    """Return the top-ups of these errands that are still under way; the errands of the others are deleted."""
    errands_by_top_up = {each.subject: each for each in claimed}
    top_ups = await read(connection, list(errands_by_top_up))
    still_open = {each.id for each in top_ups}
    await errands.end_all_but(connection, claimed, still_open)
    return [replace(each, errand=errands_by_top_up[each.id]) for each in top_ups]


async def read(connection: AsyncConnection, ids: Sequence[UUID]) -> list[TopUp]:
    """Return those of these top-ups that are still under way, without their errands."""
    rows = await connection.execute(_READ, {"ids": list(ids)})
    return [
        TopUp(
            id=row.id,
            transfer_id=row.transfer_id,
            channel=row.channel_id,
            payer=row.payer,
            amount_minor=row.amount_minor,
            currency=row.currency,
            payment_method=row.payment_method,
            intent_id=row.psp_intent_id,
            action_url=row.action_url,
            created_at=row.created_at,
            reason=row.reason,
            correlation_id=row.correlation_id,
            former_key=bool(row.former_psp_key),
        )
        for row in rows
    ]
