"""The use cases with external calls, wired up: the engine, the PSP's client, the billers' connectors.

Worker and timer each build them once. Before the process ends, calls under way are answered and recorded.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from chassis.database import PlanCacheMode
from errands import Dispatcher, Institutions
from errands.dispatcher import LOOK_SECONDS
from services.billing import late
from services.billing.bills.connectors import Connectors
from services.billing.bills.lookup import Lookups
from services.billing.database import connect
from services.billing.institutions import describe_ours
from services.billing.payments import Payments
from services.billing.psp import Psp
from services.billing.refunds import Refunds
from services.billing.settings import Settings
from services.billing.top_ups import TopUps


@dataclass(frozen=True, slots=True)
class UseCases:
    """The use cases, ready for use; the dispatcher runs their errands."""

    engine: AsyncEngine
    dispatcher: Dispatcher
    payments: Payments
    refunds: Refunds
    top_ups: TopUps
    lookups: Lookups


@asynccontextmanager
async def open_use_cases(
    settings: Settings,
    plan_cache_mode: PlanCacheMode = "auto",
    look_seconds: float = LOOK_SECONDS,
) -> AsyncIterator[UseCases]:
    """Build everything from the settings; drain and close it in order afterwards.

    `look_seconds`: the interval at which due errands are claimed.
    """
    engine = connect(
        settings.database_url.get_secret_value(),
        pool_size=settings.pool_size,
        plan_cache_mode=plan_cache_mode,
    )
    psp = _open_psp(settings)
    institutions = _institutions(settings)
    connectors = Connectors(engine, settings, institutions)
    dispatcher = Dispatcher(engine, institutions, look_seconds)
    use_cases = UseCases(
        engine,
        dispatcher,
        Payments(engine, psp, connectors, dispatcher),
        Refunds(engine, psp, connectors, dispatcher),
        TopUps(engine, psp, dispatcher),
        Lookups(engine, connectors, dispatcher),
    )
    late.register(engine, psp, connectors, dispatcher)
    claiming = asyncio.create_task(dispatcher.run())
    try:
        yield use_cases
    finally:
        claiming.cancel()
        await asyncio.gather(claiming, return_exceptions=True)
        await dispatcher.drain()
        for each in (dispatcher, psp, connectors):
            await each.aclose()
        await engine.dispose()


def _open_psp(settings: Settings) -> Psp:
    return Psp(
        settings.psp_url,
        settings.psp_api_key.get_secret_value(),
        timeout_seconds=settings.psp_timeout_seconds,
        return_url=settings.public_url,
    )


def _institutions(settings: Settings) -> Institutions:
    institutions = Institutions()
    describe_ours(
        institutions,
        places=settings.psp_places,
        psp_timeout_seconds=settings.psp_timeout_seconds,
        late_effect_seconds=settings.psp_late_effect_seconds,
    )
    return institutions
