"""What waits for an institution and was never sent does not wait for ever.

After ten minutes, or when its owner says that it is over, it ends as `institution_busy`. What may have been sent is
never given up by a clock.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from services.billing import institutions
from services.billing.subject import Kind

# A payer who looks at the phone has given up long before.
PATIENCE_SECONDS = 600.0
REASON = "institution_busy"

# Of these ids, of which the second list has waited too long: those that are over, and whether the PSP holds their
# money. They are locked.
Over = Callable[[AsyncConnection, Sequence[UUID], Sequence[UUID]], Awaitable[Mapping[UUID, bool]]]


async def give_up(
    connection: AsyncConnection, kind: Kind, legs: Sequence[str], over: Over
) -> list[UUID]:
    """Send what is over to the leg that lets the money go, in the caller's transaction; the ids of those.

    `legs` are the first calls of this kind.
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
