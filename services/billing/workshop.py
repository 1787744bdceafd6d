"""What payments and lookups are worked on with: the engine, the PSP's client, the billers' connectors.

The worker and the timer each have one. At its end, what is under way is answered and recorded first.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import PlanCacheMode
from errands import Desk, Institutions
from errands.desk import LOOK_SECONDS
from services.billing.bills.connectors import Connectors
from services.billing.bills.lookup import Lookups
from services.billing.database import connect
from services.billing.institutions import describe_ours
from services.billing.payments import Payments
from services.billing.psp import Psp
from services.billing.settings import Settings


@dataclass(frozen=True, slots=True)
class Workshop:
    """The use cases that ask somebody outside, ready to be called."""

    engine: AsyncEngine
    desk: Desk
    payments: Payments
    lookups: Lookups


@asynccontextmanager
async def open_workshop(
    settings: Settings,
    plan_cache_mode: PlanCacheMode = "auto",
    look_seconds: float = LOOK_SECONDS,
) -> AsyncIterator[Workshop]:
    """Build everything from the settings; drain and close it in order afterwards.

    `look_seconds`: how often errands that are due are looked for.
    """
    engine = connect(
        settings.database_url.get_secret_value(),
        pool_size=settings.pool_size,
        plan_cache_mode=plan_cache_mode,
    )
    psp = Psp(
        settings.psp_url,
        settings.psp_api_key.get_secret_value(),
        timeout_seconds=settings.psp_timeout_seconds,
        return_url=settings.public_url,
    )
    institutions = Institutions()
    describe_ours(
        institutions,
        places=settings.psp_places,
        psp_timeout_seconds=settings.psp_timeout_seconds,
        late_effect_seconds=settings.psp_late_effect_seconds,
    )
    connectors = Connectors(engine, settings, institutions)
    desk = Desk(engine, institutions, look_seconds)
    payments = Payments(engine, psp, connectors, desk)
    lookups = Lookups(engine, connectors, desk)
    claiming = asyncio.create_task(desk.run())
    try:
        yield Workshop(engine, desk, payments, lookups)
    finally:
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
        await desk.drain()
        for each in (desk, psp, connectors):
            await each.aclose()
        await engine.dispose()
