"""Processes of tests: payments and look-ups with a desk of their own, which claims only when it is told to."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Desk, Errand, Institutions, Turn
from services.billing.bills.connectors import Connectors
from services.billing.bills.lookup import Lookups
from services.billing.institutions import describe_ours
from services.billing.payments import Payments
from services.billing.psp import Psp


def institutions(psp_timeout_seconds: float = 0.6, psp_places: int = 256) -> Institutions:
    """The institutions of one process: the PSP and the ledger; billers follow from the catalogue."""
    made = Institutions()
    describe_ours(
        made, places=psp_places, psp_timeout_seconds=psp_timeout_seconds, late_effect_seconds=60.0
    )
    return made


@asynccontextmanager
async def claiming(desk: Desk) -> AsyncIterator[None]:
    """The desk claims for itself meanwhile, as in a worker."""
    task = asyncio.create_task(desk.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class PayingProcess(Payments):
    """Payments, refunds and top-ups of one process."""

    def __init__(
        self,
        engine: AsyncEngine,
        psp: Psp,
        connectors: Connectors,
        at: Institutions | None = None,
    ) -> None:
        self.desk = Desk(engine, at or institutions())
        super().__init__(engine, psp, connectors, self.desk)

    async def resume(self) -> int:
        """Claim what is due; how many errands that were."""
        return await self.desk.claim()

    async def drain(self) -> None:
        """Wait until the calls under way are answered and recorded."""
        await self.desk.drain()

    async def aclose(self) -> None:
        """Stop; what is under way is left to others."""
        await self.desk.aclose()


class LookingUpProcess(Lookups):
    """The look-ups of one process."""

    def __init__(
        self, engine: AsyncEngine, connectors: Connectors, at: Institutions | None = None
    ) -> None:
        self.desk = Desk(engine, at or institutions())
        super().__init__(engine, connectors, self.desk)

    async def resume(self) -> int:
        """Claim what is due; how many errands that were."""
        return await self.desk.claim()

    async def drain(self) -> None:
        """Claim, and wait for answers, until nothing is due."""
        await self.desk.drain()
        while await self.desk.claim():
            await self.desk.drain()

    async def aclose(self) -> None:
        """Stop; what is under way is left to others."""
        await self.desk.aclose()


def turn(errand: Errand, at: Institutions) -> Turn:
    """A run of this errand, with a place."""
    at.of(errand.institution).take(1)
    return Turn(errand, at)
