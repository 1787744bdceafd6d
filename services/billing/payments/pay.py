"""Pay: the one path that every payment takes, whichever door it came through.

accept (one transaction) -> authorize, apply, capture (outside, concurrently) -> record (one transaction). HTTP, Kafka
and the timer's resume all lead here; refunds and top-ups have the same shape.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID

from sqlalchemy.ext.asyncio import AsyncEngine

from events.payments import PayBill, RefundPayment, TopUpWallet
from services.billing.bills.connectors import Connectors
from services.billing.payments import refund, resume, top_up
from services.billing.payments.accept import accept
from services.billing.payments.legs import Legs
from services.billing.payments.model import Instruction, Payment, Progress
from services.billing.payments.record import record
from services.billing.payments.record_refund import finish, record_refunds
from services.billing.payments.refund import Refund, RefundLegs, RefundProgress
from services.billing.payments.top_up import TopUp, TopUpLegs, TopUpProgress, record_top_ups
from services.billing.psp import Psp
from services.billing.runner import Runner


class Payments:
    """Payments, refunds and top-ups of one process. Every use case takes a batch; one is a batch of one.

    `resume_after` is how long a process may keep what it has accepted before a timer takes it up.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        psp: Psp,
        connectors: Connectors,
        resume_after: timedelta = timedelta(seconds=20),
    ) -> None:
        self._engine = engine
        self._resume_after = resume_after
        self._payments: Runner[Payment, Progress] = Runner(
            engine, Legs(psp, connectors).run, record
        )
        self._refunds: Runner[Refund, RefundProgress] = Runner(
            engine, RefundLegs(psp, connectors).run, record_refunds
        )
        self._top_ups: Runner[TopUp, TopUpProgress] = Runner(
            engine, TopUpLegs(psp).run, record_top_ups
        )

    async def pay(self, batch: Sequence[Instruction[PayBill]]) -> list[UUID]:
        """Pay these bills; returns the payment ids that belong to other payments already, which change nothing."""
        async with self._engine.begin() as connection:
            accepted = await accept(connection, batch, self._resume_after)
        await self._payments.submit(accepted.open)
        return accepted.reused

    async def refund(self, batch: Sequence[Instruction[RefundPayment]]) -> dict[UUID, str]:
        """Refund these payments; returns why a refund could not even be kept, by refund id."""
        async with self._engine.begin() as connection:
            accepted = await refund.accept_refunds(connection, batch, self._resume_after)
            await finish(connection, accepted.refused, datetime.now(UTC))
        await self._refunds.submit(accepted.open)
        return accepted.wrong

    async def top_up(self, batch: Sequence[Instruction[TopUpWallet]]) -> list[UUID]:
        """Top up these wallets; returns the ids that belong to other top-ups already."""
        async with self._engine.begin() as connection:
            fresh, reused = await top_up.accept_top_ups(connection, batch, self._resume_after)
        await self._top_ups.submit(fresh)
        return reused

    async def resume(self) -> int:
        """Take up what is due; how many payments, refunds and top-ups that were."""
        async with self._engine.begin() as connection:
            payments = await resume.read_open(
                connection, await resume.claim(connection, "payments")
            )
            refunds = await refund.read_open(connection, await resume.claim(connection, "refunds"))
            top_ups = await top_up.read_open(connection, await resume.claim(connection, "top_ups"))
        await self._payments.submit(payments)
        await self._refunds.submit(refunds)
        await self._top_ups.submit(top_ups)
        return len(payments) + len(refunds) + len(top_ups)

    async def drain(self) -> None:
        """Wait until the outside calls under way are answered and recorded."""
        for runner in (self._payments, self._refunds, self._top_ups):
            await runner.drain()

    async def aclose(self) -> None:
        """Stop; what is under way is left to the timer."""
        for runner in (self._payments, self._refunds, self._top_ups):
            await runner.aclose()
