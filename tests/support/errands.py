"""Processes under test: payments and look-ups with a desk of their own, which claims only when a test calls it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Desk, Errand, Institutions, Turn
from messaging.consumer import Message, Rejected
from services.billing import late
from services.billing.bills.connectors import Connectors
from services.billing.bills.lookup import Lookups
from services.billing.door.unkept import Promises
from services.billing.handlers import Handled, dispatch, payment_commands
from services.billing.institutions import describe_ours
from services.billing.payments import Payments
from services.billing.psp import Psp
from services.billing.refunds import Refunds
from services.billing.top_ups import TopUps


def institutions(psp_timeout_seconds: float = 0.6, psp_places: int = 256) -> Institutions:
    """Return the institutions of one process: PSP and ledger; billers are added from the catalogue."""
    known = Institutions()
    describe_ours(
        known, places=psp_places, psp_timeout_seconds=psp_timeout_seconds, late_effect_seconds=60.0
    )
    return known


@asynccontextmanager
async def claiming(desk: Desk) -> AsyncIterator[None]:
    """Let the desk claim errands by itself meanwhile, as in a worker."""
    task = asyncio.create_task(desk.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class PayingProcess:
    """The payments, refunds and top-ups of one process."""

    def __init__(
        self,
        engine: AsyncEngine,
        psp: Psp,
        connectors: Connectors,
        at: Institutions | None = None,
    ) -> None:
        self.desk = Desk(engine, at or institutions())
        self.payments = Payments(engine, psp, connectors, self.desk)
        self.refunds = Refunds(engine, psp, connectors, self.desk)
        self.top_ups = TopUps(engine, psp, self.desk)
        late.register(engine, psp, connectors, self.desk)
        self.pay = self.payments.pay
        self.refund, self.reverse = self.refunds.refund, self.refunds.reverse
        self.top_up = self.top_ups.top_up

    async def handle_commands(
        self, promises: Promises, messages: Sequence[Message]
    ) -> Sequence[Rejected]:
        """Carry out a batch of commands, as the consumer does; return the rejected ones."""
        return await dispatch(self.handlers(promises))(messages)

    def handlers(self, promises: Promises) -> tuple[Handled, ...]:
        """Return the handlers of this process's commands."""
        return payment_commands(self.payments, self.top_ups, self.refunds, promises)

    async def give_up_waiting(self) -> int:
        """End payments and top-ups that have waited for a place for too long; return their number."""
        return await self.payments.give_up_waiting() + await self.top_ups.give_up_waiting()

    async def resume(self) -> int:
        """Claim due errands; return their number."""
        return await self.desk.claim()

    async def drain(self) -> None:
        """Wait until the results of all calls under way are recorded."""
        await self.desk.drain()

    async def aclose(self) -> None:
        """Stop; other processes take over the calls under way."""
        await self.desk.aclose()


class LookingUpProcess(Lookups):
    """The look-ups of one process."""

    def __init__(
        self, engine: AsyncEngine, connectors: Connectors, at: Institutions | None = None
    ) -> None:
        self.desk = Desk(engine, at or institutions())
        super().__init__(engine, connectors, self.desk)

    async def resume(self) -> int:
        """Claim due errands; return their number."""
        return await self.desk.claim()

    async def drain(self) -> None:
        """Claim errands and wait for their results until none is due."""
        await self.desk.drain()
        while await self.desk.claim():
            await self.desk.drain()

    async def aclose(self) -> None:
        """Stop; other processes take over the calls under way."""
        await self.desk.aclose()


def turn(errand: Errand, at: Institutions) -> Turn:
    """Return a turn of this errand that has taken a place at its institution."""
    at.of(errand.institution).take(1)
    return Turn(errand, at)
