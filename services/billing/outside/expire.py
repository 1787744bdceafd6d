"""End payments and top-ups that have waited too long for a place and for which no call was ever sent.

After ten minutes, or when the bill expires, they end as `institution_busy`. A payment for which a call may have been
sent never ends because of its age.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncConnection

import errands
from services.billing import institutions
from services.billing.subject import Kind

# Ten minutes: a payer who watches the phone has stopped waiting long before.
PATIENCE_SECONDS = 600.0
REASON = "institution_busy"

# Takes the unsent ids and, of these, the ids that have waited too long. Locks the expired ones; returns, by id, whether
# the PSP holds their money.
LockExpired = Callable[
    [AsyncConnection, Sequence[UUID], Sequence[UUID]], Awaitable[Mapping[UUID, bool]]
]


async def redirect_expired(
    connection: AsyncConnection, kind: Kind, legs: Sequence[str], lock_expired: LockExpired
) -> list[UUID]:
    """Redirect expired errands to the leg that releases the money, in the caller's transaction; return their ids.

    `legs` are the first legs of this kind.
    """
    unsent = await errands.unsent(connection, kind, legs)
    if not unsent:
        return []
    late = [each.subject for each in unsent if each.seconds > PATIENCE_SECONDS]
    held_by_psp = await lock_expired(connection, [each.subject for each in unsent], late)
    to = {
        id: (institutions.PSP if held else institutions.LEDGER, "void")
        for id, held in held_by_psp.items()
    }
    return list(await errands.redirect(connection, kind, to, legs))
