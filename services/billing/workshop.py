"""What payments and lookups are worked on with: the engine, the PSP's client, the billers' connectors.

The worker and the timer each have one. At its end, what is under way is answered and recorded first.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import PlanCacheMode
from services.billing.bills.connectors import Connectors
from services.billing.bills.lookup import Lookups
from services.billing.database import connect
from services.billing.payments import Payments
from services.billing.psp import Psp
from services.billing.settings import Settings


@dataclass(frozen=True, slots=True)
class Workshop:
    """The use cases that ask somebody outside, ready to be called."""

    engine: AsyncEngine
    payments: Payments
    lookups: Lookups


@asynccontextmanager
async def open_workshop(
    settings: Settings, plan_cache_mode: PlanCacheMode = "auto"
) -> AsyncIterator[Workshop]:
    """Build everything from the settings; drain and close it in order afterwards."""
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
    connectors = Connectors(engine, settings)
    resume_after = timedelta(seconds=settings.resume_after_seconds)
    payments = Payments(engine, psp, connectors, resume_after)
    lookups = Lookups(engine, connectors, resume_after)
    try:
        yield Workshop(engine, payments, lookups)
    finally:
        await lookups.drain()
        await payments.drain()
        for each in (lookups, payments, psp, connectors):
            await each.aclose()
        await engine.dispose()
