"""End payments and top-ups that have waited too long for a place and for which no call was ever sent.

After ten minutes, or when the bill is over, they end as `institution_busy`. A payment for which a call may have been
sent never ends by a clock.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from services.billing import institutions
from services.billing.subject import Kind

# A payer who looks at the phone has stopped waiting long before.
PATIENCE_SECONDS = 600.0
REASON = "institution_busy"

# Locks those of these ids that are over (the ids of the second list have waited too long), and returns whether the PSP
# holds their money.
Over = Callable[[AsyncConnection, Sequence[UUID], Sequence[UUID]], Awaitable[Mapping[UUID, bool]]]


async def give_up(
    connection: AsyncConnection, kind: Kind, legs: Sequence[str], over: Over
) -> list[UUID]:
    """Point the errands that are over to the leg that releases the money, in the caller's transaction; return their
    ids.

    `legs` are the first legs of this kind.
    """
    found = await errands.unsent(connection, kind, legs)
    if not found:
        return []
    late = [each.subject for each in found if each.seconds > PATIENCE_SECONDS]
    held_by_psp = await over(connection, [each.subject for each in found], late)
    to = {
        id: (institutions.PSP if held else institutions.LEDGER, "void")
        for id, held in held_by_psp.items()
    }
    return list(await errands.redirect(connection, kind, to, legs))
