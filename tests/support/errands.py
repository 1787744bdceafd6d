"""Processes under test: payments and lookups with a dispatcher of their own that claims only when a test calls it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from sqlalchemy.ext.asyncio import AsyncEngine

from errands import Dispatcher, Errand, ErrandRun, Institutions
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
async def claiming(dispatcher: Dispatcher) -> AsyncIterator[None]:
    """Let the dispatcher claim errands by itself meanwhile, as in a worker."""
    task = asyncio.create_task(dispatcher.run())
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
        self.dispatcher = Dispatcher(engine, at or institutions())
        self.payments = Payments(engine, psp, connectors, self.dispatcher)
        self.refunds = Refunds(engine, psp, connectors, self.dispatcher)
        self.top_ups = TopUps(engine, psp, self.dispatcher)
        late.register(engine, psp, connectors, self.dispatcher)
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

    async def expire_waiting(self) -> int:
        """End payments and top-ups that have waited for a place for too long; return their number."""
        return await self.payments.expire_waiting() + await self.top_ups.expire_waiting()

    async def resume(self) -> int:
        """Claim due errands; return their number."""
        return await self.dispatcher.claim()

    async def drain(self) -> None:
        """Wait until the results of all calls under way are recorded."""
        await self.dispatcher.drain()

    async def aclose(self) -> None:
        """Stop; other processes take over the calls under way."""
        await self.dispatcher.aclose()


class LookingUpProcess(Lookups):
    """The look-ups of one process."""

    def __init__(
        self, engine: AsyncEngine, connectors: Connectors, at: Institutions | None = None
    ) -> None:
        self.dispatcher = Dispatcher(engine, at or institutions())
        super().__init__(engine, connectors, self.dispatcher)

    async def resume(self) -> int:
        """Claim due errands; return their number."""
        return await self.dispatcher.claim()

    async def drain(self) -> None:
        """Claim errands and wait for their results until none is due."""
        await self.dispatcher.drain()
        while await self.dispatcher.claim():
            await self.dispatcher.drain()

    async def aclose(self) -> None:
        """Stop; other processes take over the calls under way."""
        await self.dispatcher.aclose()


def errand_run(errand: Errand, at: Institutions) -> ErrandRun:
    """Return a turn of this errand that has taken a place at its institution."""
    at.of(errand.institution).take_places(1)
    return ErrandRun(errand, at)
